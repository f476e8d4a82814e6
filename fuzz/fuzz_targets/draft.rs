//! What a publisher posts: read, and made an event or refused with the field that is wrong. An event never leaves its
//! profile, and never goes to nobody or to somebody by a value that widens a path.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidings::{Draft, Limits, Profile, Template, Timestamp};
use tidings_fuzz::rich_profile;

static PROFILE: LazyLock<Profile> = LazyLock::new(rich_profile);
static OPEN: LazyLock<Profile> = LazyLock::new(Profile::open);

fuzz_target!(|bytes: &[u8]| {
    let Ok(draft) = serde_json::from_slice::<Draft>(bytes) else { return };
    let limits = Limits::default();
    let _ = OPEN.derive(draft.clone(), Timestamp(1), &limits);
    let data = draft.data.get().to_owned();
    let event = match PROFILE.derive(draft, Timestamp(1), &limits) {
        Ok(event) => event,
        Err(error) => {
            assert!(!error.field.is_empty() && !error.detail.is_empty());
            return;
        }
    };
    assert_eq!(event.data, data, "the data is untouched");
    assert!(event.topic.as_str().starts_with("app/"));
    assert!(!event.audience.grants().is_empty(), "an audience that can't be derived is an error");
    for grant in event.audience.grants() {
        assert!(grant.as_str().starts_with("app/") && !grant.as_str().contains('*'));
    }
    let rule = PROFILE.rule(&event.name).expect("it was derived by a rule");
    // What the values are does not change how many segments the path has.
    let segments = |template: &Template| template.as_str().split('/').count() + 1;
    if !rule.publisher_topic {
        let count = event.topic.as_str().split('/').count();
        assert!(std::iter::once(&rule.topic).chain(&rule.other_topics).any(|template| segments(template) == count));
    }
    let variant = rule.shape.variant(&Default::default(), &event);
    serde_json::from_slice::<serde::de::IgnoredAny>(&rule.shape.render(&event, variant))
        .expect("data that is JSON is shown as JSON");
});
