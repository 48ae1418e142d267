//! The emulator that knows Security Hub, network interfaces and mirror sessions, on loopback, from `PyPI`.
#![cfg_attr(
    not(all(feature = "inventory", feature = "securityhub")),
    allow(dead_code, reason = "each feature needs a part")
)]

use std::process::{Child, Command, Stdio};

use super::{
    capture::root,
    emulator::{FORM, await_start, free_port, post},
    process,
};

/// An emulated account, gone with the test.
pub struct Moto {
    child: Child,
    pub port: u16,
}

impl Moto {
    pub fn is_installed() -> bool {
        program().exists()
    }

    pub fn start() -> Option<Self> {
        let program = program();
        if !program.exists() {
            return None;
        }
        let port = free_port();
        let child = process::spawn(
            Command::new(program)
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let moto = Self { child, port };
        await_start(port);
        Some(moto)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls an action of EC2.
    pub fn ec2(&self, form: &str) -> String {
        let form = format!("{form}&Version=2016-11-15");
        post(self.port, "/", "ec2", &[], FORM, &form)
    }
}

fn program() -> std::path::PathBuf {
    root().join("target/aws-emulators/bin/moto_server")
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The text of the first element of this name.
pub fn between(text: &str, tag: &str) -> String {
    let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("{tag}: {text}"));
    rest.split(&format!("</{tag}>")).next().unwrap().to_owned()
}
