use super::*;

fn key(name: &str) -> Key {
    Key::cluster(name)
}

fn names(lanes: &mut Lanes, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| lanes.pop(now).map(|(key, _)| key.to_string())).collect()
}

fn fire(lanes: &mut Lanes, now: Instant) -> Vec<(String, Due)> {
    let mut fired = Vec::new();
    while let Some((key, due)) = lanes.pop_due(now) {
        if let Due::Wake(lane) = due {
            lanes.add(&key, lane, now);
        }
        fired.push((key.to_string(), due));
    }
    fired
}

#[test]
fn fresh_goes_before_background_and_a_key_is_queued_once() {
    let (mut lanes, now) = (Lanes::new(), Instant::now());
    lanes.add(&key("old"), Lane::Background, now);
    lanes.add(&key("new"), Lane::Fresh, now);
    lanes.add(&key("new"), Lane::Fresh, now);
    lanes.add(&key("raised"), Lane::Background, now);
    lanes.add(&key("raised"), Lane::Fresh, now);
    assert_eq!(lanes.waiting(), 3);
    assert_eq!(names(&mut lanes, now), ["new", "raised", "old"]);
    assert_eq!(lanes.waiting(), 0);
}

#[test]
fn the_background_is_never_starved() {
    let (mut lanes, now) = (Lanes::new(), Instant::now());
    lanes.add(&key("background"), Lane::Background, now);
    for n in 0..40 {
        lanes.add(&key(&format!("fresh-{n:02}")), Lane::Fresh, now);
    }
    let order = names(&mut lanes, now);
    assert_eq!(order.iter().position(|name| name == "background"), Some(FAIRNESS as usize));
    assert_eq!(order.len(), 41);
}

#[test]
fn a_key_is_worked_on_once_at_a_time() {
    let (mut lanes, now) = (Lanes::new(), Instant::now());
    lanes.add(&key("a"), Lane::Fresh, now);
    assert!(lanes.pop(now).is_some());
    lanes.add(&key("a"), Lane::Fresh, now);
    lanes.add(&key("a"), Lane::Background, now);
    assert!(lanes.pop(now).is_none(), "it is running");
    lanes.finish(&key("a"), Next::Rest, None, now);
    assert_eq!(names(&mut lanes, now), ["a"], "it comes back once");
    lanes.finish(&key("a"), Next::Rest, None, now);
    assert!(lanes.entries.is_empty(), "nothing is kept of a key at rest");
}

#[test]
fn retries_double_and_a_success_starts_over() {
    let (mut lanes, mut now) = (Lanes::new(), Instant::now());
    let mut delays = Vec::new();
    lanes.add(&key("a"), Lane::Fresh, now);
    for end in [Next::Retry(Duration::ZERO), Next::Retry(Duration::ZERO), Next::Retry(Duration::from_secs(1))] {
        assert!(lanes.pop(now).is_some());
        lanes.finish(&key("a"), end, None, now);
        let due = lanes.next_due().unwrap();
        delays.push(due.duration_since(now).as_millis());
        now = due;
        fire(&mut lanes, now);
    }
    assert_eq!(delays, [5, 10, 1000]);
    assert!(lanes.pop(now).is_some());
    lanes.finish(&key("a"), Next::Rest, None, now);
    lanes.add(&key("a"), Lane::Fresh, now);
    assert!(lanes.pop(now).is_some());
    lanes.finish(&key("a"), Next::Retry(Duration::ZERO), None, now);
    assert_eq!(lanes.next_due().unwrap().duration_since(now).as_millis(), 5);
}

#[test]
fn the_last_run_decides_when_a_key_comes_back() {
    let (mut lanes, now) = (Lanes::new(), Instant::now());
    lanes.add(&key("a"), Lane::Fresh, now);
    lanes.pop(now);
    lanes.finish(&key("a"), Next::Again(Duration::from_secs(60)), None, now);
    lanes.add(&key("a"), Lane::Fresh, now);
    lanes.pop(now);
    lanes.finish(&key("a"), Next::Again(Duration::from_secs(10)), None, now);
    assert_eq!(lanes.timers.len(), 1);
    assert_eq!(lanes.next_due(), Some(now + Duration::from_secs(10)));
    lanes.add(&key("a"), Lane::Fresh, now);
    lanes.pop(now);
    lanes.finish(&key("a"), Next::Forget, None, now);
    assert!(lanes.next_due().is_none() && lanes.entries.is_empty());
}

#[test]
fn a_parked_key_waits_until_it_is_let_go() {
    let (mut lanes, now) = (Lanes::new(), Instant::now());
    let later = now + Duration::from_secs(5);
    lanes.add(&key("a"), Lane::Fresh, now);
    lanes.pop(now);
    lanes.finish(&key("a"), Next::Again(Duration::from_secs(1)), Some(later), now);
    lanes.add(&key("a"), Lane::Fresh, now);
    assert!(lanes.pop(now).is_none());
    assert_eq!(fire(&mut lanes, now + Duration::from_secs(1)), [("a".to_owned(), Due::Wake(Lane::Fresh))]);
    assert!(lanes.pop(now).is_none(), "a timer does not break the wait");
    lanes.unpark(&key("a"), now);
    assert_eq!(names(&mut lanes, now), ["a"]);
    assert!(lanes.next_due().is_none(), "its deadline is gone with the wait");
    lanes.finish(&key("a"), Next::Rest, Some(later), now);
    assert_eq!(fire(&mut lanes, later), [("a".to_owned(), Due::GiveUpWaiting)]);
}
