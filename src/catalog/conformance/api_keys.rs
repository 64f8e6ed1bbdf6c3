//! API keys.

use std::collections::BTreeSet;

use super::*;

fn key(id: &str, name: &str, scopes: &[KeyScope]) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        name: name.to_owned(),
        hash: [id.len() as u8; 32],
        beginning: "ims_abc".to_owned(),
        scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
        created_ms: 5,
    }
}

pub(crate) async fn keys_are_kept_by_name_and_removed(fixture: &dyn Fixture) {
    let (catalog, other) = (fixture.open().await, fixture.open_as("two").await);
    assert_eq!(catalog.api_keys().await.expect("keys"), []);
    let (page, robot) = (key("1", "page", &KeyScope::ALL), key("22", "a robot", &[]));
    assert!(catalog.add_api_key(&page).await.expect("added"));
    assert!(other.add_api_key(&robot).await.expect("added"));
    let same_name = key("333", "page", &[KeyScope::Search]);
    assert!(!catalog.add_api_key(&same_name).await.expect("asked"), "the name is taken");
    assert_eq!(other.api_keys().await.expect("keys"), [robot.clone(), page]);
    assert!(other.remove_api_key("page").await.expect("removed"));
    assert!(!catalog.remove_api_key("page").await.expect("asked"), "it is gone");
    assert_eq!(catalog.api_keys().await.expect("keys"), [robot]);
    assert!(catalog.add_api_key(&same_name).await.expect("added"), "the name is free again");
}
