//! What name services answered, on its way to whoever names servers: it goes out with the next record.

use std::{collections::VecDeque, net::IpAddr, sync::Arc};

use crate::model::{Answer, NamedAddress, Timestamp};

/// Answers that wait for a record to go with; of more the oldest are dropped and counted.
const ANSWERS_WAITING_MAX: usize = 4096;

/// Answers in order.
#[derive(Debug, Default)]
pub(super) struct Answered {
    waiting: VecDeque<NamedAddress>,
    /// Answers that found no room.
    pub(super) dropped: u64,
}

impl Answered {
    pub(super) fn add(
        &mut self,
        scope: &Arc<str>,
        client: IpAddr,
        at: Timestamp,
        answers: Vec<Answer>,
    ) {
        for answer in answers {
            if self.waiting.len() >= ANSWERS_WAITING_MAX {
                self.waiting.pop_front();
                self.dropped += 1;
            }
            self.waiting.push_back(NamedAddress { scope: Arc::clone(scope), client, at, answer });
        }
    }

    pub(super) fn take(&mut self) -> Vec<NamedAddress> {
        // No allocation while there is none.
        std::mem::take(&mut self.waiting).into()
    }
}
