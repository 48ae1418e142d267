//! Progress bar on a terminal: bytes of all inputs, packets per second, time left.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::discover::CaptureInput;

/// Progress over all inputs of a run, drawn on standard error. Cloning gives another handle to the same bar.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
    packets: Arc<AtomicU64>,
}

impl Progress {
    /// A bar for `inputs`; `None` when standard error is not a terminal.
    pub fn new(inputs: &[CaptureInput]) -> Option<Self> {
        io::stderr().is_terminal().then(|| Self::on(ProgressDrawTarget::stderr(), inputs))
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints through `print` without the bar getting in between.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }

    /// For one input, whose position in bytes is `position`.
    pub(super) fn meter(&self, position: &Arc<AtomicU64>) -> Meter {
        Meter {
            progress: self.clone(),
            position: Arc::clone(position),
            told_bytes: 0,
            packets: 0,
            reads: 0,
        }
    }

    fn on(target: ProgressDrawTarget, inputs: &[CaptureInput]) -> Self {
        let total = inputs.iter().try_fold(0_u64, |sum, input| sum.checked_add(input.bytes?));
        let packets = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&packets);
        let rate = move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let seconds = state.elapsed().as_millis().max(1);
            let packets = u128::from(counted.load(Ordering::Relaxed)) * 1000 / seconds;
            let rate = HumanCount(u64::try_from(packets).unwrap_or(u64::MAX));
            // The bar has nowhere to report a failed write to.
            let _drawn = write!(out, "{rate} packets/s");
        };
        let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, target);
        bar.set_style(style.with_key("packets", rate));
        Self { bar, packets }
    }
}

/// One input's share. Costs a comparison per packet; the bar hears of it once per block read.
pub(super) struct Meter {
    progress: Progress,
    position: Arc<AtomicU64>,
    told_bytes: u64,
    packets: u64,
    reads: u64,
}

impl Meter {
    /// Counts a packet; `reads` is how often the input has been read.
    pub(super) fn packet(&mut self, reads: u64) {
        self.packets += 1;
        if reads != self.reads {
            self.reads = reads;
            self.tell();
        }
    }

    /// Tells the bar.
    pub(super) fn tell(&mut self) {
        let position = self.position.load(Ordering::Relaxed);
        let packets = std::mem::take(&mut self.packets);
        self.progress.packets.fetch_add(packets, Ordering::Relaxed);
        self.progress.bar.inc(position.saturating_sub(self.told_bytes));
        self.told_bytes = position;
    }
}

const WITH_TOTAL: &str = "{bar:30} {bytes}/{total_bytes} {packets} {bytes_per_sec} ETA {eta}";
const WITHOUT_TOTAL: &str = "{spinner} {bytes} {packets} {bytes_per_sec}";

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Mutex};

    use indicatif::TermLike;

    use super::*;
    use crate::ingest::discover::Place;

    #[test]
    fn draws_bytes_rate_and_time_left() {
        let input = |bytes| CaptureInput {
            place: Place::Path(PathBuf::from("a.pcap")),
            capture: "a.pcap".to_owned(),
            bytes,
        };
        for (inputs, shows) in [
            (vec![input(Some(600)), input(Some(400))], vec!["400 B/1000 B", "packets/s", "ETA"]),
            (vec![input(Some(600)), input(None)], vec!["400 B", "packets/s"]),
        ] {
            let screen = Screen::default();
            let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
            let progress = Progress::on(target, &inputs);
            let position = Arc::new(AtomicU64::new(400));
            let mut meter = progress.meter(&position);
            meter.packet(1);
            progress.bar.tick();
            meter.tell();
            assert_eq!(progress.bar.position(), 400);
            let drawn = screen.0.lock().unwrap().clone();
            for part in shows {
                assert!(drawn.contains(part), "{part:?} is not in {drawn:?}");
            }
            progress.finish();
        }
    }

    /// Keeps all that was written.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn write(&self, text: &str) {
            self.0.lock().unwrap().push_str(text);
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write(text);
            Ok(())
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.write(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }
}
