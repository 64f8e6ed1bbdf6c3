//! Work that one process does for all who share a catalog: comparing a source with it, and housekeeping. Whoever claims such
//! work first does it and prolongs the claim while it lives; another one takes over when the claim is given back or runs out.
//! Who lost it while it was halted ends what it does, and what it would still record is refused by the catalog.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::followed::Followed;
use super::{IngestError, Shared, follower, housekeeping};
use crate::source::Identity;
use crate::source::presence::Known;
use crate::types::now_ms;

/// Nobody waits to take over where one process has the catalog for itself, so nothing has to be written often.
const UNSHARED_TERM: Duration = Duration::from_mins(10);
/// How often a claim is prolonged, or asked for, before it runs out.
const TRIES: u32 = 3;

/// What is done by one for all.
#[derive(Clone)]
pub(super) enum Work {
    Listing(Arc<Followed>),
    Housekeeping,
}

impl Work {
    /// What it is claimed as.
    fn claim(&self) -> String {
        match self {
            Self::Listing(followed) => followed.listing_claim(),
            Self::Housekeeping => "housekeeping".to_owned(),
        }
    }

    fn begin(&self, shared: &Arc<Shared>, stop: CancellationToken) -> JoinHandle<()> {
        let shared = shared.clone();
        match self.clone() {
            Self::Listing(followed) => tokio::spawn(follower::follow(shared, followed, stop)),
            Self::Housekeeping => tokio::spawn(housekeeping::run(shared, stop)),
        }
    }

    /// Learns what others found out.
    async fn catch_up(&self, shared: &Shared) {
        if let Self::Listing(followed) = self
            && let Err(error) = recall(shared, followed).await
        {
            tracing::debug!(%error, "could not learn what another process found out of a source");
        }
    }

    /// What others do is nothing to wait for here.
    fn leave_to_others(&self, shared: &Shared) {
        match self {
            Self::Listing(_) => shared.scanned_once.store(true, Ordering::Relaxed),
            Self::Housekeeping => shared.is_clean.store(true, Ordering::Relaxed),
        }
    }
}

/// Does the work whenever this process may, until `stop`.
pub(super) async fn lead(shared: Arc<Shared>, work: Work, stop: CancellationToken) {
    let leader = Leader { term: term(&shared), claim: work.claim(), shared: &shared };
    let is_shared = shared.parts.catalog.is_shared();
    while !stop.is_cancelled() {
        // Nobody else can have it where nothing is shared, also if the disk is too full to write that down.
        let may_begin = leader.claim().await.unwrap_or(!is_shared);
        if is_shared || !may_begin {
            work.catch_up(&shared).await;
        }
        if may_begin {
            leader.do_while_claimed(&work, &stop).await;
        } else {
            work.leave_to_others(&shared);
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(leader.term / TRIES)).await;
    }
}

/// In a process that never does such work: learns what others find out, until `stop`.
pub(super) async fn observe(shared: Arc<Shared>, stop: CancellationToken) {
    let listings = shared.followed.iter().cloned().map(Work::Listing);
    let all: Vec<Work> = listings.chain([Work::Housekeeping]).collect();
    loop {
        for work in &all {
            work.catch_up(&shared).await;
            work.leave_to_others(&shared);
        }
        let pause = tokio::time::sleep(term(&shared) / TRIES);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn recall(shared: &Shared, followed: &Followed) -> Result<(), IngestError> {
    let rows = shared.parts.catalog.sources().await?;
    if let Some(row) = rows.into_iter().find(|row| row.id == followed.source.id()) {
        let known = Known { identity: row.identity.map(Identity), away: row.away };
        if followed.presence.known() != known {
            followed.presence.restore(known);
        }
    }
    shared.count_away();
    Ok(())
}

fn term(shared: &Shared) -> Duration {
    if shared.parts.catalog.is_shared() {
        Duration::from_millis(shared.parts.config.takeover_ms)
    } else {
        UNSHARED_TERM
    }
}

struct Leader<'a> {
    shared: &'a Arc<Shared>,
    claim: String,
    /// For so long a claim lasts without being prolonged.
    term: Duration,
}

impl Leader<'_> {
    async fn claim(&self) -> Result<bool, IngestError> {
        let now = now_ms();
        let until = now + self.term.as_millis() as i64;
        Ok(self.shared.parts.catalog.claim(&self.claim, now, until).await?)
    }

    async fn do_while_claimed(&self, work: &Work, stop: &CancellationToken) {
        let claim = &self.claim;
        tracing::debug!(claim, "this process does it for all");
        let stop_work = stop.child_token();
        let doing = work.begin(self.shared, stop_work.clone());
        let is_lost = self.keep(stop).await;
        stop_work.cancel();
        if let Err(error) = doing.await {
            tracing::error!(claim, %error, "it ended in the middle and is begun again");
        }
        if is_lost {
            tracing::warn!(claim, "another process may have taken this over");
        } else if let Err(error) = self.shared.parts.catalog.end_claim(claim).await {
            tracing::debug!(claim, %error, "it could not be given back, and runs out by itself");
        }
    }

    /// Prolongs the claim until `stop`, or until it is lost, or may be: returns whether it is. To prolong it is not given up
    /// half-way: a database that was asked does it, perhaps after the claim was given back.
    async fn keep(&self, stop: &CancellationToken) -> bool {
        let (is_shared, pause) = (self.shared.parts.catalog.is_shared(), self.term / TRIES);
        let mut claimed = Instant::now();
        loop {
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return false;
            }
            let asked = Instant::now();
            match tokio::time::timeout(pause, self.claim()).await {
                Ok(Ok(true)) => claimed = asked,
                Ok(Ok(false)) => return true,
                Ok(Err(_)) | Err(_) if is_shared && claimed.elapsed() + pause > self.term => {
                    return true;
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}
