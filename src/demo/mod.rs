//! `saltlake demo`: a tour over real data, on a real cluster of processes, in one command.
//!
//! Called by `cli`. It lays out the [`sample`] that the binary carries, starts a [`cluster`] (a coordinator and three
//! workers, the same executable), runs the [`tour`] through the Flight SQL door like any client, and stays up for psql.
//! Each result is compared with the answer another engine gave, so the tour is a check of the installation as well.

mod cluster;
mod sample;
mod screen;
mod tour;

use crate::shell::Remote;
use crate::shell::diagnostic::{Failure, Printer};
use clap::Args;
use cluster::DemoCluster;
use screen::Screen;
use std::path::PathBuf;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

/// Workers of the demo: enough to see an exchange, few enough for a laptop.
const N_WORKERS: usize = 3;

/// Flags of `saltlake demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// End after the tour; the status is 0 only if all its results were right.
    #[arg(long)]
    pub exit: bool,
    /// Folder for the demo's lake and logs; made if it does not exist, used again if it is a demo's.
    #[arg(long, value_name = "DIR", default_value = "saltlake-demo")]
    pub dir: PathBuf,
}

/// Runs the demo and returns the exit code of the process.
///
/// 0: all results of the tour were right. 1: one was not, or a process failed. 2: the folder is not the demo's to
/// write. 3: no connection to the coordinator. 130: interrupted during the tour.
pub async fn run(args: DemoArgs) -> u8 {
    let interrupted = match interruption() {
        Ok(interrupted) => interrupted,
        Err(error) => return report(&Failure::Output(error)),
    };
    tokio::pin!(interrupted);
    let mut cluster = DemoCluster::default();
    let tour = tokio::select! {
        tour = start_and_tour(&args, &mut cluster) => tour,
        () = &mut interrupted => Err(Failure::Interrupted),
    };
    let code = match tour {
        Ok(code) if !args.exit => invite(&cluster).map_or_else(|error| report(&error), |()| code),
        Ok(code) => code,
        Err(failure) => {
            let code = report(&failure);
            cluster.show_logs();
            cluster.stop().await;
            return code;
        }
    };
    if !args.exit {
        interrupted.await;
    }
    cluster.stop().await;
    code
}

/// Lays out the lake, starts the processes and takes the tour; returns 0 when every result was right, else 1.
async fn start_and_tour(args: &DemoArgs, cluster: &mut DemoCluster) -> Result<u8, Failure> {
    let started = Instant::now();
    let layout = sample::lay_out(&args.dir)?;
    let mut screen = Screen::new();
    screen.title("Saltlake demo: a coordinator and three workers over a small real lake")?;
    screen.fact("lake", &layout.describe())?;
    cluster.start(&layout, N_WORKERS).await?;
    let server = Remote::connect(cluster.flight()).await?;
    cluster.wait_for_workers(&server, N_WORKERS).await?;
    screen.fact("processes", &cluster.describe(started.elapsed()))?;
    screen.fact("logs", &layout.logs().display().to_string())?;
    let summary = tour::run(&server, &layout, &mut screen).await?;
    screen.summary(&summary)?;
    Ok(u8::from(summary.n_wrong > 0))
}

/// Says how to look at the lake with other tools.
fn invite(cluster: &DemoCluster) -> Result<(), Failure> {
    let mut screen = Screen::new();
    let (host, port) = cluster.pg().rsplit_once(':').unwrap_or((cluster.pg(), "5433"));
    screen.title("Your turn: the servers stay up until Ctrl-C")?;
    screen.fact("psql", &format!("psql -h {host} -p {port} -d lake"))?;
    screen.fact("shell", &format!("saltlake sql --url http://{}", cluster.flight()))?;
    screen.fact("queries", &format!("http://{}/queries", cluster.http()))?;
    Ok(())
}

/// Returns a future that is ready when the user or the system asks the demo to end.
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

fn report(failure: &Failure) -> u8 {
    Printer::for_stderr().failure(failure, None);
    failure.exit_code()
}
