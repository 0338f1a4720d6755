//! Wishes, unions and what is left behind.

use std::sync::{Arc, Mutex};

use mcp_proxy_core::{LogLevel, SessionKey};

use super::{About, Interest, Refused, Watch};

const ONE: SessionKey = SessionKey(1);
const TWO: SessionKey = SessionKey(2);

/// What backends were told, as `backend about: names`.
type Told = Arc<Mutex<Vec<String>>>;

fn interest() -> (Interest, Watch, Told) {
    let interest = Interest::default();
    interest.open(ONE);
    interest.open(TWO);
    let told = Told::default();
    let watch: Watch = {
        let told = told.clone();
        Arc::new(move |backend, about, names| {
            told.lock()
                .unwrap()
                .push(format!("{backend} {about:?}: {}", names.join(" ")));
        })
    };
    (interest, watch, told)
}

fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut told.lock().unwrap())
}

#[test]
fn a_backend_hears_of_the_union_and_only_when_it_changes() {
    let (interest, watch, told) = interest();
    let add = |session, uri| interest.add(session, 0, About::Resource, uri, &watch).unwrap();
    add(ONE, "b");
    add(TWO, "b");
    add(TWO, "b");
    add(TWO, "a");
    assert_eq!(take(&told), ["0 Resource: b", "0 Resource: a b"]);
    interest.remove(ONE, 0, About::Resource, "b", &watch);
    interest.remove(ONE, 0, About::Resource, "never", &watch);
    assert!(take(&told).is_empty(), "the other still wants it");
    interest.close(TWO, &watch);
    assert_eq!(take(&told), ["0 Resource: "], "told once, however much it was");
}

#[test]
fn a_session_that_has_ended_leaves_nothing_and_asks_for_nothing() {
    let (interest, watch, told) = interest();
    interest.close(ONE, &watch);
    let refused = interest.add(ONE, 0, About::Resource, "a", &watch);
    assert_eq!(refused, Err(Refused::Ended));
    assert!(take(&told).is_empty());
    assert!(interest.listeners(0, About::Resource, "a").is_empty());
}

#[test]
fn exactly_those_hear_who_asked() {
    let (interest, watch, _) = interest();
    interest.add(ONE, 0, About::Resource, "file:///a", &watch).unwrap();
    interest.add(TWO, 0, About::Resource, "file:///ab/", &watch).unwrap();
    interest.add(TWO, 1, About::Resource, "file:///a", &watch).unwrap();
    interest.add(TWO, 0, About::Task, "file:///a", &watch).unwrap();
    let check = |uri: &str, expected: &[SessionKey]| {
        assert_eq!(interest.listeners(0, About::Resource, uri), expected, "{uri}");
    };
    check("file:///a", &[ONE]);
    check("file:///a/below", &[ONE]);
    check("file:///a?page=2#x", &[ONE]);
    check("file:///ab/c", &[TWO]);
    check("file:///ab", &[]);
    check("file:///b", &[]);
}

#[test]
fn wishes_are_bounded() {
    let (interest, watch, _) = interest();
    let mut taken = 0;
    while interest
        .add(ONE, 0, About::Resource, &format!("a:{taken}"), &watch)
        .is_ok()
    {
        taken += 1;
        assert!(taken <= super::topics::MAX_OF_SESSION);
    }
    assert!(interest.add(TWO, 0, About::Resource, "a:0", &watch).is_ok());
    interest.close(ONE, &watch);
    interest.open(ONE);
    assert!(interest.add(ONE, 0, About::Resource, "b", &watch).is_ok());
}

#[test]
fn the_least_level_of_those_who_are_still_there_counts() {
    let (interest, watch, _) = interest();
    assert_eq!(interest.set_level(Some(ONE), LogLevel::Error), LogLevel::Error);
    assert_eq!(interest.set_level(Some(TWO), LogLevel::Debug), LogLevel::Debug);
    assert_eq!(interest.set_level(Some(ONE), LogLevel::Warning), LogLevel::Debug);
    interest.close(TWO, &watch);
    assert_eq!(interest.set_level(Some(ONE), LogLevel::Warning), LogLevel::Warning);
    assert_eq!(interest.set_level(None, LogLevel::Info), LogLevel::Info);
    assert_eq!(interest.set_level(Some(ONE), LogLevel::Alert), LogLevel::Alert);
}

#[tokio::test(start_paused = true)]
async fn whose_task_it_is_is_remembered_for_a_while() {
    let (interest, ..) = interest();
    interest.own_task(ONE, 0, "t");
    assert_eq!(interest.task_owner(0, "t"), Some(ONE));
    assert_eq!(interest.task_owner(1, "t"), None);
    for task in 0..super::owners::MAX_TASKS {
        interest.own_task(TWO, 1, &task.to_string());
    }
    assert_eq!(interest.task_owner(0, "t"), None, "the oldest goes first");
    tokio::time::advance(std::time::Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(interest.task_owner(1, "5"), None);
}
