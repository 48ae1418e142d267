//! NFS: ONC RPC program 100003. <https://www.rfc-editor.org/rfc/rfc7530>, over TLS <https://www.rfc-editor.org/rfc/rfc9289>
//!
//! The messages are read in `rpc`; the tests are those of `sunrpc`.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    rpc::{self, Programs},
};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Nfs;

impl Detector for Nfs {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        rpc::probe(view, Programs::Nfs)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        rpc::follow(state, side, said)
    }
}

static INFO: Info = Info {
    name: "nfs",
    title: "Network File System",
    spec: "https://www.rfc-editor.org/rfc/rfc7530",
    ports: &[2049],
    transports: &[Transport::Tcp, Transport::Udp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[rpc::UPGRADE],
    credentials: Credentials::NONE,
};
