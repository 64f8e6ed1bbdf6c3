//! Does errands, on the handles of a server or of a command.

use super::errand::{Errand, Handles, Tell};
use super::store_errands;
use crate::search::{LearningVersion, LearnsFrom};
use crate::store_check;

/// Returns the exit code.
pub(super) async fn perform(
    errand: &Errand,
    handles: &Handles,
    tell: &mut dyn Tell,
) -> anyhow::Result<u8> {
    match errand {
        Errand::Retry => retry(handles, tell).await,
        Errand::Prune => prune(handles, tell).await,
        Errand::Learn => measure_learning(handles, tell).await,
        Errand::Verify(errand) => store_errands::verify(handles, errand, tell).await,
        Errand::Copy(errand) => store_errands::copy_stores(handles, errand, tell).await,
    }
}

async fn retry(handles: &Handles, tell: &mut dyn Tell) -> anyhow::Result<u8> {
    let retried = handles.catalog.retry(None).await?;
    tell.say(&if handles.wake() {
        format!("Pictures being tried again: {retried}")
    } else {
        format!("Pictures to be tried again by the next image-search index or serve: {retried}")
    });
    Ok(0)
}

async fn prune(handles: &Handles, tell: &mut dyn Tell) -> anyhow::Result<u8> {
    let (store, _) = handles.store(None, None).await?;
    let pruned = store_check::prune(&*handles.catalog, &*store, &handles.being_built).await?;
    if pruned.is_empty() {
        tell.say("There are no vectors of other models.");
    }
    for name in pruned {
        tell.say(&format!("deleted the vectors of {name}"));
    }
    Ok(0)
}

async fn measure_learning(handles: &Handles, tell: &mut dyn Tell) -> anyhow::Result<u8> {
    let searcher = handles.searcher()?;
    searcher.recall_ratings().await?;
    let judged = searcher.judge_learning().await?;
    let found = judged.comparison.in_words();
    tell.say(&format!("What others' ratings are worth, tried on the newest: {found}"));
    let LearningVersion { number, from, is_fixed } = judged.version;
    let state = match from {
        LearnsFrom::All => "what others agree on counts",
        LearnsFrom::Own => "everybody sees the effect of their own ratings only",
        LearnsFrom::Nothing => "searches do not learn",
    };
    let how = if is_fixed { ", as it was decided by hand (image-search learn --auto)" } else { "" };
    tell.say(&format!("Version {number}: {state}{how}."));
    Ok(0)
}
