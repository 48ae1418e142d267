//! TLS record layer and `SSLv2` hello. RFC 8446 section 5.1, RFC 5246 section 6.2.1, RFC 6101 appendix E.
use super::{Detector, Directions, Info, Probe, View};
use crate::model::{Credentials, Transport};

pub(super) struct Tls;

impl Detector for Tls {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, _view: &View<'_>) -> Probe {
        Probe::No
    }
}

static INFO: Info = Info {
    name: "tls",
    title: "TLS and SSL",
    spec: "https://www.rfc-editor.org/rfc/rfc8446",
    ports: &[443],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};
