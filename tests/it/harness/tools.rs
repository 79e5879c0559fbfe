//! Foreign programs that some tests need: Python with the ADBC driver, and an S3 server, both from PyPI.
//!
//! They are installed once, into a virtual environment under the target folder. Where that is impossible (no network)
//! the test says so and passes; with `SALTLAKE_TEST_REQUIRE_TOOLS=1`, as in `.ci/run`, it fails instead.

use super::{scratch_dir, source_root, wait_until};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Set by CI: a missing tool fails the test that needs it.
const REQUIRE_TOOLS: &str = "SALTLAKE_TEST_REQUIRE_TOOLS";

/// Says aloud that a test did not run and why.
pub fn skip(reason: &str) {
    assert!(std::env::var_os(REQUIRE_TOOLS).is_none(), "required, but: {reason}");
    eprintln!("SKIPPED: {reason}");
}

/// Returns a TCP port that was free a moment ago, for programs that cannot bind port 0.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Python interpreter with the packages of `tests/requirements.txt`.
pub struct Python {
    bin_dir: PathBuf,
}

impl Python {
    /// Finds or installs it; `None`, said aloud, where that is impossible.
    pub fn find() -> Option<Self> {
        match install_python() {
            Ok(bin_dir) => Some(Self { bin_dir }),
            Err(reason) => {
                skip(&reason);
                None
            }
        }
    }

    /// Runs a program text with arguments.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(self.bin_dir.join("python"))
            .arg("-c")
            .arg(program)
            .args(args)
            .output()
            .unwrap()
    }

    /// Runs a program in a file, which may import what lies beside it, with arguments.
    pub fn run_file(&self, file: &Path, args: &[&str]) -> Output {
        Command::new(self.bin_dir.join("python"))
            .arg("-B")
            .arg(file)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Returns the path of a program that a package installed.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// Makes the virtual environment unless it is there, and returns its `bin` folder.
fn install_python() -> Result<PathBuf, String> {
    let requirements = source_root().join("tests/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let venv = scratch_dir().join("../python");
    std::fs::create_dir_all(&venv).map_err(|e| e.to_string())?;
    // Test processes run side by side: one installs, the others wait.
    let lock = File::create(venv.join("install.lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let done = venv.join("installed.txt");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(venv.join("bin"));
    }
    run_step(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run_step(Command::new(venv.join("bin/python")).args(pip).arg(&requirements))?;
    std::fs::write(done, wanted).map_err(|e| e.to_string())?;
    Ok(venv.join("bin"))
}

/// Node with the packages of `tests/clients/package.json`.
pub struct Node {
    modules: PathBuf,
}

impl Node {
    /// Finds or installs them; `None`, said aloud, where that is impossible.
    pub fn find() -> Option<Self> {
        match install_node() {
            Ok(modules) => Some(Self { modules }),
            Err(reason) => {
                skip(&reason);
                None
            }
        }
    }

    /// Runs a program in a file with arguments.
    pub fn run_file(&self, file: &Path, args: &[&str]) -> Output {
        let mut node = Command::new("node");
        node.env("NODE_PATH", &self.modules).arg(file).args(args).stdin(Stdio::null());
        node.output().unwrap()
    }
}

/// Installs the packages unless they are there, and returns their folder.
fn install_node() -> Result<PathBuf, String> {
    let wanted_file = source_root().join("tests/clients/package.json");
    let wanted = std::fs::read_to_string(&wanted_file).unwrap();
    let folder = scratch_dir().join("../node");
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let lock = File::create(folder.join("install.lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let done = folder.join("installed.txt");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(folder.join("node_modules"));
    }
    std::fs::write(folder.join("package.json"), &wanted).map_err(|e| e.to_string())?;
    let npm = ["install", "--no-audit", "--no-fund", "--ignore-scripts"];
    run_step(Command::new("npm").args(npm).current_dir(&folder))?;
    std::fs::write(done, wanted).map_err(|e| e.to_string())?;
    Ok(folder.join("node_modules"))
}

fn run_step(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A running S3 server: SeaweedFS, on a port of its own, with its data in a scratch folder.
pub struct SeaweedFs {
    child: Child,
    dir: TempDir,
    port: u16,
    /// Port of its Iceberg REST catalog; 0 when it has none.
    iceberg_port: u16,
}

/// Access key of the test's S3 server.
pub const S3_ACCESS_KEY: &str = "saltlake-test";
/// Secret key of the test's S3 server.
pub const S3_SECRET_KEY: &str = "saltlake-test-secret";
/// The bucket that [`SeaweedFs::start`] makes.
pub const S3_BUCKET: &str = "lake";

impl SeaweedFs {
    /// Starts it and makes the bucket; `None`, said aloud, where it cannot be installed.
    pub fn start() -> Option<Self> {
        let python = Python::find()?;
        let dir = tempfile::Builder::new().prefix("seaweedfs").tempdir_in(scratch_dir()).unwrap();
        write_identities(dir.path());
        let mut args = vec!["server".to_owned(), format!("-dir={}", dir.path().display())];
        args.extend([
            "-s3".to_owned(),
            format!("-s3.config={}", dir.path().join("s3.json").display()),
        ]);
        let server = Self::spawn(&python, dir, args, &[], 0);
        server.wait_for_bucket(&python);
        Some(server)
    }

    /// Starts it with its Iceberg REST catalog, whose warehouse is the table bucket `s3://warehouse`.
    pub fn start_catalog(python: &Python) -> Self {
        let command = ["mini", "-dir=/data", "-tableBucket=warehouse"].map(str::to_owned);
        let keys = [("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY)];
        let envs = keys.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self::start_mini(python, &command, &envs, free_port())
    }

    /// Starts it with a command line and environment of the caller's, in which `/data` is the folder of its data.
    /// Its buckets are there when this returns.
    pub fn start_as(python: &Python, command: &[String], envs: &[(String, String)]) -> Self {
        Self::start_mini(python, command, envs, 0)
    }

    fn start_mini(
        python: &Python,
        command: &[String],
        envs: &[(String, String)],
        iceberg_port: u16,
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("seaweedfs").tempdir_in(scratch_dir()).unwrap();
        let data = dir.path().display().to_string();
        let args = command.iter().map(|arg| arg.replace("/data", &data)).collect();
        let server = Self::spawn(python, dir, args, envs, iceberg_port);
        let log = server.dir.path().join("log");
        wait_until("the S3 server has all its parts", Duration::from_secs(60), || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("All enabled components"))
        });
        server
    }

    fn spawn(
        python: &Python,
        dir: TempDir,
        mut args: Vec<String>,
        envs: &[(String, String)],
        iceberg_port: u16,
    ) -> Self {
        let port = free_port();
        let is_mini = args.first().is_some_and(|command| command == "mini");
        args.extend(local_server_args(port, iceberg_port));
        if is_mini {
            // It brings more parts; those that can be are left out, the others get ports of their own.
            args.push("-admin.ui=false".to_owned());
            for part in ["admin.port", "admin.port.grpc", "webdav.port"] {
                args.push(format!("-{part}={}", free_port()));
            }
        }
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new(python.program("weed"))
            .args(args)
            .envs(envs.iter().map(|(name, value)| (name, value)))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, dir, port, iceberg_port }
    }

    /// Returns the address of its Iceberg REST catalog.
    pub fn iceberg_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.iceberg_port)
    }

    /// Returns `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the environment that lets Saltlake in.
    pub fn env(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY),
            ("AWS_ENDPOINT", &self.endpoint()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Runs a Python program whose `s3` is a pyarrow file system on the server.
    pub fn python(&self, python: &Python, program: &str, args: &[&str]) -> Output {
        let prelude = format!(
            "import sys, pyarrow.fs\n\
             s3 = pyarrow.fs.S3FileSystem(access_key='{S3_ACCESS_KEY}', secret_key='{S3_SECRET_KEY}',\n\
             \x20   endpoint_override='127.0.0.1:{}', scheme='http', region='us-east-1',\n\
             \x20   allow_bucket_creation=True)\n",
            self.port
        );
        python.run(&(prelude + program), args)
    }

    fn wait_until_listening(&self) {
        wait_until("the S3 server listens", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    fn wait_for_bucket(&self, python: &Python) {
        self.wait_until_listening();
        let program = format!("s3.create_dir('{S3_BUCKET}')");
        wait_until("the S3 server makes a bucket", Duration::from_secs(60), || {
            self.python(python, &program, &[]).status.success()
        });
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("--- last lines of the S3 server, latest first ---\n{}", tail.join("\n"));
        }
    }
}

fn write_identities(dir: &Path) {
    let identities = serde_json::json!({"identities": [{
        "name": "saltlake",
        "credentials": [{"accessKey": S3_ACCESS_KEY, "secretKey": S3_SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    std::fs::write(dir.join("s3.json"), identities.to_string()).unwrap();
}

/// Ports and addresses that let several of them run side by side.
fn local_server_args(s3_port: u16, iceberg_port: u16) -> Vec<String> {
    let mut args: Vec<String> =
        ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20"].map(str::to_owned).into();
    args.push("-master.volumeSizeLimitMB=64".to_owned());
    args.push(format!("-s3.port={s3_port}"));
    // On ports of their own by default, which two servers cannot share.
    args.extend([format!("-s3.port.iceberg={iceberg_port}"), "-s3.port.lance=0".to_owned()]);
    // Each part also opens a gRPC port; left alone it would be the port plus 10000, which may be taken or too large.
    for part in ["master", "volume", "filer"] {
        args.push(format!("-{part}.port={}", free_port()));
        args.push(format!("-{part}.port.grpc={}", free_port()));
    }
    args.push(format!("-s3.port.grpc={}", free_port()));
    args
}
