//! Waits for a statement while Ctrl-C and the progress line stay alive.
//!
//! Used by the runner around every wait. The line appears on standard error, only on a terminal, only when a wait
//! takes longer than [`QUIET`], and is wiped before anything else is written.

use super::diagnostic::{Failure, write_stderr};
use super::output::plural;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};

/// Waits shorter than this show nothing: most queries are done by then.
const QUIET: Duration = Duration::from_millis(400);

/// How often the line is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Turns on each redraw.
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Watches over one statement.
pub struct Watch {
    started: Instant,
    ticks: Interval,
    interrupt: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_shown: bool,
    is_drawn: bool,
    n_frames: usize,
}

impl Watch {
    /// Starts the clock, and takes Ctrl-C from now on. `is_shown` says whether a progress line may be drawn.
    pub fn start(is_shown: bool) -> Self {
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let interrupt = Box::pin(async {
            // Without a signal handler Ctrl-C ends the process, which is right too.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let started = Instant::now();
        Self { started, ticks, interrupt, is_shown, is_drawn: false, n_frames: 0 }
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for `work`; `n_rows` is shown as received so far.
    ///
    /// # Errors
    /// [`Failure::Interrupted`] on Ctrl-C; `work` is dropped then, which cancels it.
    pub async fn wait<T>(
        &mut self,
        n_rows: usize,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                biased;
                () = &mut self.interrupt => break Err(Failure::Interrupted),
                result = &mut work => break result,
                _ = self.ticks.tick() => self.draw(n_rows),
            }
        };
        self.wipe();
        result
    }

    fn draw(&mut self, n_rows: usize) {
        if !self.is_shown || self.elapsed() < QUIET {
            return;
        }
        let frame = FRAMES[self.n_frames % FRAMES.len()];
        self.n_frames += 1;
        let line = line(frame, self.elapsed(), n_rows);
        write_stderr(&format!("\r\x1b[2K{line}"));
        self.is_drawn = true;
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            write_stderr("\r\x1b[2K");
        }
    }
}

fn line(frame: char, elapsed: Duration, n_rows: usize) -> String {
    let seconds = elapsed.as_secs_f64();
    let received = match n_rows {
        0 => "running".to_string(),
        _ => format!("{} received", plural(n_rows, "row")),
    };
    format!("{frame} {seconds:.1} s  {received}  (Ctrl-C cancels)")
}

/// Returns a duration as the shell shows it.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        for (ms, expected) in
            [(3, "3.0 ms"), (999, "999.0 ms"), (1500, "1.50 s"), (61_000, "1 min 1 s")]
        {
            assert_eq!(duration_text(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn the_line_tells_time_and_rows() {
        assert_eq!(line('*', Duration::from_millis(2100), 0), "* 2.1 s  running  (Ctrl-C cancels)");
        let text = line('*', Duration::from_secs(9), 1200);
        assert_eq!(text, "* 9.0 s  1,200 rows received  (Ctrl-C cancels)");
    }
}
