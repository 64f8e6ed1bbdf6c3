//! What processes that share a catalog tell each other at once. Each of it would be found a little later anyway.

use std::str::FromStr;

use tokio::sync::watch;

/// What there is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Images became pending.
    Work,
    /// Another model answers.
    Model,
}

impl Hint {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Model => "model",
        }
    }
}

/// A word that is no [`Hint`], of a later version perhaps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hint")]
pub struct NoSuchHint(String);

impl FromStr for Hint {
    type Err = NoSuchHint;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = [Self::Work, Self::Model];
        all.into_iter()
            .find(|hint| hint.as_str() == word)
            .ok_or_else(|| NoSuchHint(word.to_owned()))
    }
}

/// Where hints arrive.
#[derive(Debug, Clone)]
pub struct Hints {
    pub work: watch::Receiver<()>,
    pub model: watch::Receiver<()>,
}

/// Where they come from.
pub(super) struct Announcer {
    work: watch::Sender<()>,
    model: watch::Sender<()>,
}

impl Announcer {
    pub(super) fn new() -> (Self, Hints) {
        let (work_sender, work) = watch::channel(());
        let (model_sender, model) = watch::channel(());
        (Self { work: work_sender, model: model_sender }, Hints { work, model })
    }

    pub(super) fn tell(&self, hint: Hint) {
        match hint {
            Hint::Work => self.work.send_replace(()),
            Hint::Model => self.model.send_replace(()),
        }
    }

    pub(super) fn tell_all(&self) {
        self.tell(Hint::Work);
        self.tell(Hint::Model);
    }
}
