//! What every `Source` must do, as cases that each become a test of their own for each implementation:
//! `conformance_tests!(Subject)` in the implementation's tests. A case that fails tells by its name what is broken.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::AsyncReadExt;

use super::{Listed, Listing, Source, SourceError};
use crate::types::{Fingerprint, ImageName, Scope};

/// An implementation's source, empty at first, and someone who changes it behind its back.
pub(crate) trait Subject: Sized + Send + Sync + 'static {
    fn start() -> Self;

    fn source(&self) -> Arc<dyn Source>;

    /// Adds or replaces a picture.
    fn put(&self, name: &ImageName, bytes: &[u8]);

    fn remove(&self, name: &ImageName);

    /// The same with many, where there is a faster way.
    fn put_many(&self, names: &[ImageName], bytes: &[u8]) {
        for name in names {
            self.put(name, bytes);
        }
    }

    fn remove_many(&self, names: &[ImageName]) {
        for name in names {
            self.remove(name);
        }
    }

    /// Whether the place that the tests run against takes such a name.
    fn takes(&self, _name: &str) -> bool {
        true
    }

    /// How many names there are in a list of which most vanish meanwhile. More than are on their way at once, unless the place that
    /// the tests run against is too slow for that.
    const LONG: usize = 8_000;

    /// Whether a folder can be closed to us while we may list the rest; a bucket is listed as a whole or not at all.
    const LOCKS_FOLDERS: bool = true;

    /// Lets nobody look into a folder.
    fn lock(&self, folder: &ImageName);

    /// Takes the whole place away, and brings it back.
    fn unplug(&self);
    fn plug_in(&self);
}

/// Makes a test of each case.
macro_rules! conformance_tests {
    ($(#[$attribute:meta])* $subject:ty) => {
        $crate::source::conformance::conformance_tests!($(#[$attribute])* $subject;
            an_empty_source_lists_nothing,
            names_come_in_the_order_of_their_bytes,
            names_with_every_legal_byte_are_listed_and_opened,
            a_list_begins_behind_any_name,
            long_lists_come_whole_and_in_order,
            scopes_hold_a_name_and_what_is_below,
            what_vanishes_while_it_is_listed_breaks_nothing,
            an_unreadable_part_is_told_and_hides_nothing_else,
            an_unplugged_source_is_away_and_never_empty,
            a_list_is_given_up_when_nobody_listens,
            pictures_are_read_whole_with_their_fingerprint,
            a_changed_picture_has_another_fingerprint,
            writing_while_it_is_read_shows_in_the_fingerprint,
            a_reader_goes_on_where_it_was_told_to,
            names_that_are_not_there_are_not_found,
            created_pictures_are_there_and_never_overwrite,
            of_many_creators_one_wins_and_nobody_sees_a_part,
            deleted_pictures_are_gone,
            hints_begin_with_everything_and_then_name_what_changed,
        );
    };
    ($(#[$attribute:meta])* $subject:ty; $($case:ident),+ $(,)?) => {
        $crate::source::conformance::conformance_tests!(@each [$(#[$attribute])*] $subject; $($case),+);
    };
    (@each $attributes:tt $subject:ty; $($case:ident),+) => {
        $($crate::source::conformance::conformance_tests!(@one $attributes $subject; $case);)+
    };
    (@one [$(#[$attribute:meta])*] $subject:ty; $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $case() {
            $crate::source::conformance::$case(<$subject as $crate::source::conformance::Subject>::start()).await;
        }
    };
}
pub(crate) use conformance_tests;

pub(crate) fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("a valid name")
}

fn put_all(subject: &impl Subject, names: &[&str]) {
    for text in names {
        subject.put(&name(text), text.as_bytes());
    }
}

/// The names that a listing tells until it ends.
async fn told(mut listing: Listing) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(item) = listing.next().await.expect("a list that ends") {
        match item {
            Listed::Image(name, _) => names.push(name.to_string()),
            other => panic!("unexpected: {other:?}"),
        }
    }
    names
}

pub(crate) async fn listed(source: &dyn Source, scope: Scope) -> Vec<String> {
    told(source.list(&scope, None)).await
}

async fn bytes_of(source: &dyn Source, name: &ImageName) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut opened = source.open(name).await.expect("open");
    opened.reader.read_to_end(&mut bytes).await.expect("read");
    bytes
}

pub(crate) async fn an_empty_source_lists_nothing(subject: impl Subject) {
    assert!(listed(&*subject.source(), Scope::All).await.is_empty());
}

/// Folders are sorted as if their name ended with a slash, which lies between "." and "0".
pub(crate) async fn names_come_in_the_order_of_their_bytes(subject: impl Subject) {
    let mut names = [
        "a/b", "a.png", "a0", "a!", "a/b.png", "a/b0/c", "a/b/c", "A", "z", "ä", "a b", "a-b/c",
        "a.b/c",
    ];
    // "a/b" cannot be a picture and a folder.
    names[0] = "a/a";
    put_all(&subject, &names);
    let listed = listed(&*subject.source(), Scope::All).await;
    names.sort_unstable();
    assert_eq!(listed, names);
    let expected = [
        "A", "a b", "a!", "a-b/c", "a.b/c", "a.png", "a/a", "a/b.png", "a/b/c", "a/b0/c", "a0",
        "z", "ä",
    ];
    assert_eq!(listed, expected);
}

pub(crate) async fn names_with_every_legal_byte_are_listed_and_opened(subject: impl Subject) {
    let source = subject.source();
    let ascii = (1..128_u8).filter(|byte| !b"./".contains(byte));
    let mut names: Vec<String> = ascii.map(|byte| format!("x{}y", char::from(byte))).collect();
    names.extend(
        ["日本/写真 1.png", "Größe/a\nb\\c\"d'e%f?g#h", "😀", "q\u{10FFFF}", " ", "a..b/..."]
            .map(str::to_owned),
    );
    names.retain(|text| !text.split('/').any(|part| part.starts_with('.')) && subject.takes(text));
    for text in &names {
        subject.put(&name(text), text.as_bytes());
    }
    names.sort_unstable();
    assert_eq!(listed(&*source, Scope::All).await, names);
    for text in &names {
        assert_eq!(bytes_of(&*source, &name(text)).await, text.as_bytes(), "{text:?}");
        assert_eq!(listed(&*source, Scope::Under(name(text))).await, [text.as_str()], "{text:?}");
    }
}

pub(crate) async fn a_list_begins_behind_any_name(subject: impl Subject) {
    let source = subject.source();
    let names = ["a", "b!", "b/a", "b/c/d", "b/c/e", "b/d", "b0", "c"];
    put_all(&subject, &names);
    // Behind each name that is there, and behind some that are not.
    for after in names.into_iter().chain(["0", "b", "b/c", "b/c/dd", "b/b", "b1", "d"]) {
        let rest: Vec<&str> = names.into_iter().filter(|text| *text > after).collect();
        assert_eq!(told(source.list(&Scope::All, Some(&name(after)))).await, rest, "{after}");
        let below: Vec<&str> =
            rest.into_iter().filter(|text| name(text).is_at_or_below(&name("b/c"))).collect();
        let scope = Scope::Under(name("b/c"));
        assert_eq!(told(source.list(&scope, Some(&name(after)))).await, below, "{after}");
    }
}

/// More than a few pages, in several folders.
pub(crate) async fn long_lists_come_whole_and_in_order(subject: impl Subject) {
    let mut names: Vec<String> =
        (0..5_000).map(|number| format!("{}/{}", number % 7, number)).collect();
    subject.put_many(&names.iter().map(|text| name(text)).collect::<Vec<_>>(), b"");
    names.sort_unstable();
    assert_eq!(listed(&*subject.source(), Scope::All).await, names);
}

pub(crate) async fn scopes_hold_a_name_and_what_is_below(subject: impl Subject) {
    let source = subject.source();
    put_all(&subject, &["a/b/1", "a/b/2", "a/b.png", "a/b0", "a/c", "b"]);
    assert_eq!(listed(&*source, Scope::Under(name("a/b"))).await, ["a/b/1", "a/b/2"]);
    assert_eq!(listed(&*source, Scope::Under(name("a/c"))).await, ["a/c"]);
    for nothing in ["gone", "a/gone/x", "b/below-a-file"] {
        assert!(listed(&*source, Scope::Under(name(nothing))).await.is_empty(), "{nothing}");
    }
}

pub(crate) async fn what_vanishes_while_it_is_listed_breaks_nothing<S: Subject>(subject: S) {
    let names: Vec<ImageName> =
        (0..S::LONG).map(|number| name(&format!("{:02}/{number:05}", number / 1000))).collect();
    subject.put_many(&names, b"x");
    let mut listing = subject.source().list(&Scope::All, None);
    assert!(matches!(listing.next().await, Ok(Some(Listed::Image(first, _))) if first == names[0]));
    subject.remove_many(&names[100..]);
    let rest = told(listing).await;
    let stayed: Vec<String> = names[1..100].iter().map(ToString::to_string).collect();
    assert!(rest.starts_with(&stayed), "what stayed is told");
    assert!(rest.is_sorted(), "and the order is kept");
    assert_eq!(listed(&*subject.source(), Scope::All).await.len(), 100);
}

pub(crate) async fn an_unreadable_part_is_told_and_hides_nothing_else<S: Subject>(subject: S) {
    if !S::LOCKS_FOLDERS {
        return;
    }
    put_all(&subject, &["a", "locked.png", "locked/1", "locked/2", "locked0", "z"]);
    subject.lock(&name("locked"));
    let mut listing = subject.source().list(&Scope::All, None);
    let (mut names, mut parts) = (Vec::new(), Vec::new());
    while let Some(item) = listing.next().await.expect("a list that ends") {
        match item {
            Listed::Image(name, _) => names.push(name.to_string()),
            Listed::Unreadable { part, reason } => {
                assert!(!reason.is_empty());
                assert!(
                    names.iter().all(|told| *told < format!("{part}/")),
                    "it comes in its place"
                );
                parts.push(part.to_string());
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert_eq!(
        (names, parts),
        (
            ["a", "locked.png", "locked0", "z"].map(str::to_owned).to_vec(),
            vec!["locked".to_owned()]
        )
    );
}

pub(crate) async fn an_unplugged_source_is_away_and_never_empty(subject: impl Subject) {
    let source = subject.source();
    put_all(&subject, &["a"]);
    let before = source.identity().await.expect("it is there");
    subject.unplug();
    let is_away = |error: &SourceError| matches!(error, SourceError::Away { .. });
    assert!(is_away(&source.identity().await.expect_err("it is away")));
    for scope in [Scope::All, Scope::Under(name("a"))] {
        let mut listing = source.list(&scope, None);
        assert!(is_away(&listing.next().await.expect_err("it is away")), "{scope:?}");
    }
    subject.plug_in();
    assert_eq!(source.identity().await, Ok(before));
    assert_eq!(listed(&*source, Scope::All).await, ["a"]);
}

pub(crate) async fn a_list_is_given_up_when_nobody_listens<S: Subject>(subject: S) {
    let names: Vec<ImageName> = (0..S::LONG / 2).map(|number| name(&number.to_string())).collect();
    subject.put_many(&names, b"");
    // The test ends with the runtime, which waits for threads at work: a list that went on for ever would hang here.
    let mut listing = subject.source().list(&Scope::All, None);
    assert!(matches!(listing.next().await, Ok(Some(_))));
}

pub(crate) async fn pictures_are_read_whole_with_their_fingerprint(subject: impl Subject) {
    let source = subject.source();
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    subject.put(&name("a/big"), &bytes);
    let mut opened = source.open(&name("a/big")).await.expect("open");
    let mut read = Vec::new();
    opened.reader.read_to_end(&mut read).await.expect("read");
    assert!(read == bytes, "the bytes differ");
    assert_eq!(opened.fingerprint.size_bytes, bytes.len() as u64);
    assert_eq!(opened.reader.fingerprint().await.as_ref(), Ok(&opened.fingerprint));
    assert_eq!(source.stat(&name("a/big")).await.as_ref(), Ok(&opened.fingerprint));
    let mut listing = source.list(&Scope::All, None);
    let expected = Listed::Image(name("a/big"), opened.fingerprint);
    assert_eq!(listing.next().await, Ok(Some(expected)));
}

/// Puts other bytes of the same length until the clock of the source has moved on.
async fn change(subject: &impl Subject, name: &ImageName, before: &Fingerprint) {
    let source = subject.source();
    for _ in 0..1000 {
        subject.put(name, b"neu");
        if source.stat(name).await.expect("there") != *before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("a second of changes does not show");
}

pub(crate) async fn a_changed_picture_has_another_fingerprint(subject: impl Subject) {
    let source = subject.source();
    subject.put(&name("a"), b"old");
    let before = source.stat(&name("a")).await.expect("there");
    assert_eq!(source.stat(&name("a")).await.as_ref(), Ok(&before), "nothing changed");
    change(&subject, &name("a"), &before).await;
    let opened = source.open(&name("a")).await.expect("open");
    assert_ne!(opened.fingerprint, before);
    subject.put(&name("a"), b"longer than before");
    assert_eq!(source.stat(&name("a")).await.expect("there").size_bytes, 18);
}

/// Or does not concern what is open: an object is read as it was.
pub(crate) async fn writing_while_it_is_read_shows_in_the_fingerprint(subject: impl Subject) {
    subject.put(&name("a"), b"old");
    let mut opened = subject.source().open(&name("a")).await.expect("open");
    change(&subject, &name("a"), &opened.fingerprint).await;
    if opened.reader.fingerprint().await.as_ref() == Ok(&opened.fingerprint) {
        let mut bytes = Vec::new();
        opened.reader.read_to_end(&mut bytes).await.expect("read");
        assert_eq!(bytes, b"old", "what is read is not what its fingerprint says");
    }
}

/// What can jump goes on at any byte, forwards and backwards; what cannot says so and stays where it is.
pub(crate) async fn a_reader_goes_on_where_it_was_told_to(subject: impl Subject) {
    let bytes: Vec<u8> = (0..100_000_u32).map(|number| (number % 241) as u8).collect();
    subject.put(&name("a"), &bytes);
    let mut opened = subject.source().open(&name("a")).await.expect("open");
    let mut magic = [0; 64];
    opened.reader.read_exact(&mut magic).await.expect("read");
    for from in [90_000, 10, 99_999] {
        let jumped = opened.reader.jump(from as u64).await.expect("no trouble");
        let mut rest = Vec::new();
        opened.reader.read_to_end(&mut rest).await.expect("read");
        if !jumped {
            assert!(rest == bytes[64..], "it stays where it was");
            return;
        }
        assert!(rest == bytes[from..], "from byte {from} on");
    }
}

pub(crate) async fn names_that_are_not_there_are_not_found(subject: impl Subject) {
    let source = subject.source();
    put_all(&subject, &["a"]);
    for text in ["b", "no/such/folder", "a/below-a-file"] {
        let name = name(text);
        let expected = SourceError::NotFound(name.clone());
        assert_eq!(source.stat(&name).await.as_ref(), Err(&expected));
        assert_eq!(source.open(&name).await.err().as_ref(), Some(&expected));
        assert_eq!(source.delete(&name).await.as_ref(), Err(&expected));
    }
}

pub(crate) async fn created_pictures_are_there_and_never_overwrite(subject: impl Subject) {
    let source = subject.source();
    let new = name("new/folder/a.png");
    source.create(&new, b"bytes").await.expect("created");
    assert_eq!(source.create(&new, b"other").await, Err(SourceError::Exists(new.clone())));
    assert_eq!(bytes_of(&*source, &new).await, b"bytes");
    assert_eq!(listed(&*source, Scope::All).await, ["new/folder/a.png"]);
}

pub(crate) async fn of_many_creators_one_wins_and_nobody_sees_a_part(subject: impl Subject) {
    let source = subject.source();
    let texts: Vec<Vec<u8>> = (0..8_u8).map(|number| vec![number; 200_000]).collect();
    let creators = texts.iter().map(|bytes| source.create(const_name(), bytes));
    let watching = async {
        let mut looks = 0;
        while looks < 200 {
            match source.stat(const_name()).await {
                Ok(fingerprint) => assert_eq!(fingerprint.size_bytes, 200_000, "a part is seen"),
                Err(error) => assert!(matches!(error, SourceError::NotFound(_)), "{error}"),
            }
            looks += 1;
        }
    };
    let (outcomes, ()) = tokio::join!(futures::future::join_all(creators), watching);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let bytes = bytes_of(&*source, const_name()).await;
    assert!(texts.contains(&bytes), "a mixture");
}

fn const_name() -> &'static ImageName {
    static NAME: std::sync::LazyLock<ImageName> = std::sync::LazyLock::new(|| name("raced.png"));
    &NAME
}

pub(crate) async fn deleted_pictures_are_gone(subject: impl Subject) {
    let source = subject.source();
    put_all(&subject, &["a", "b/c"]);
    source.delete(&name("b/c")).await.expect("deleted");
    assert_eq!(listed(&*source, Scope::All).await, ["a"]);
    assert!(matches!(source.open(&name("b/c")).await, Err(SourceError::NotFound(_))));
}

/// Holds also for a source without hints, which relies on the periodic comparison.
pub(crate) async fn hints_begin_with_everything_and_then_name_what_changed(subject: impl Subject) {
    let Some(mut hints) = subject.source().hints() else { return };
    let mut next = async || {
        let next = tokio::time::timeout(Duration::from_secs(20), hints.next()).await;
        next.expect("a hint in time").expect("hints do not end")
    };
    assert_eq!(next().await, [Scope::All]);
    subject.put(&name("a.png"), b"x");
    while !next().await.contains(&Scope::Under(name("a.png"))) {}
    subject.remove(&name("a.png"));
    while !next().await.contains(&Scope::Under(name("a.png"))) {}
}
