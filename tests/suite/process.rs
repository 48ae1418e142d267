//! Programs that tests start. One that hangs is killed, so that its test fails by name and holds up nothing.

use std::{
    fs,
    process::{Child, Command, Output},
    time::Duration,
};

/// Far more than any of them takes.
const ALLOWED: Duration = Duration::from_mins(4);

/// Starts it; it is killed when it runs for too long.
pub fn spawn(command: &mut Command) -> Child {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
    let pid = child.id();
    let begun = begun(pid);
    std::thread::spawn(move || {
        std::thread::sleep(ALLOWED);
        // The same number at another start is another process.
        if begun.is_some() && begun == self::begun(pid) {
            println!("{name} ran for more than {ALLOWED:?} and is killed");
            kill(pid);
        }
    });
    child
}

/// Runs it to its end.
pub fn output(command: &mut Command) -> Output {
    use std::process::Stdio;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).wait_with_output().unwrap()
}

/// When a process was started, in clock ticks since boot (proc(5): the 20th field after the name); nothing for a dead one.
fn begun(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    println!("kill: {killed:?}");
}
