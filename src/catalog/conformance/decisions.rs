//! What gates decided.

use super::*;
use crate::catalog::decisions::DECISIONS_KEPT;

fn decision(model: &str, outcome: GateOutcome, decided_ms: i64) -> GateDecision {
    GateDecision {
        number: 0,
        model: model.to_owned(),
        former: "former@1".to_owned(),
        outcome,
        figures: None,
        by_operator: false,
        decided_ms,
    }
}

pub(crate) async fn decisions_are_numbered_for_each_gate_by_whoever_decides(fixture: &dyn Fixture) {
    let (one, two) = (fixture.open_as("one").await, fixture.open_as("two").await);
    assert_eq!(one.decisions(Gate::Switch, 9).await.expect("asked"), []);
    let held = GateDecision {
        figures: Some("{\"gain\": -0.25}".to_owned()),
        ..decision("next@2", GateOutcome::Held, 10)
    };
    let forced = GateDecision { by_operator: true, ..decision("next@2", GateOutcome::Forced, 20) };
    assert_eq!(one.decide(Gate::Switch, &held).await.expect("decided"), 1);
    assert_eq!(two.decide(Gate::Switch, &forced).await.expect("decided"), 2);
    let off = decision(MODEL, GateOutcome::Off, 30);
    assert_eq!(two.decide(Gate::Learning, &off).await.expect("decided"), 1);
    let switches = one.decisions(Gate::Switch, 9).await.expect("asked");
    let wanted = [GateDecision { number: 2, ..forced }, GateDecision { number: 1, ..held }];
    assert_eq!(switches, wanted);
    assert_eq!(two.decisions(Gate::Switch, 1).await.expect("asked"), wanted[..1]);

    let at_once = (0..20).map(|number| {
        let (catalog, off) = (if number % 2 == 0 { &one } else { &two }, &off);
        async move { catalog.decide(Gate::Learning, off).await.expect("decided") }
    });
    let mut numbers = futures::future::join_all(at_once).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (2..22).collect::<Vec<i64>>());
    for _ in 0..DECISIONS_KEPT {
        one.decide(Gate::Learning, &off).await.expect("decided");
    }
    let kept = one.decisions(Gate::Learning, 1_000).await.expect("asked");
    assert_eq!((kept.len() as i64, kept[0].number), (DECISIONS_KEPT, 21 + DECISIONS_KEPT));
    assert_eq!(one.decisions(Gate::Switch, 9).await.expect("asked"), wanted, "the other gate's");
}
