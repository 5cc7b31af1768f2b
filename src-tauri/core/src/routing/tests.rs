//! Rules, words and plans. The rules are also compared with the real releases in the journeys.

use std::collections::BTreeMap;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
static UTC: TimeZone = TimeZone::UTC;
const MINUTE: i64 = 60_000;

fn id(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn ids(names: &[&str]) -> Vec<ProfileId> {
    names.iter().map(|name| id(&format!("p:{name}"))).collect()
}

fn at(minutes: i64) -> Option<Timestamp> {
    Some(NOW.plus_millis(minutes * MINUTE))
}

/// An [`Input`] that owns its parts. Profiles are `p:<name>` of provider `p`.
struct World {
    rules: RuleSet,
    provider: ProviderId,
    profiles: Vec<Candidate>,
    stored: Option<Vec<ProfileId>>,
    config: Option<Vec<ProfileId>>,
    config_profiles: Vec<ConfigProfile>,
    usage: BTreeMap<ProfileId, Usage>,
    aws_sdk: bool,
    preferred: Option<ProfileId>,
    fallbacks: Vec<String>,
}

impl World {
    fn new(names: &[&str]) -> Self {
        Self {
            rules: RuleSet::V6_1,
            provider: ProviderId::parse("p").unwrap(),
            profiles: ids(names).into_iter().map(oauth).collect(),
            stored: None,
            config: None,
            config_profiles: Vec::new(),
            usage: BTreeMap::new(),
            aws_sdk: false,
            preferred: None,
            fallbacks: Vec::new(),
        }
    }

    fn stored(mut self, names: &[&str]) -> Self {
        self.stored = Some(ids(names));
        self
    }

    fn configured(mut self, name: &str, mode: ConfigMode) -> Self {
        self.config_profiles.push(ConfigProfile {
            id: id(&format!("p:{name}")),
            provider_text: "p".to_owned(),
            mode,
        });
        self
    }

    fn rests(mut self, name: &str, minutes: i64, reason: &str) -> Self {
        let usage = Usage {
            cooldown_until: at(minutes),
            cooldown_reason: Some(reason.to_owned()),
            ..Usage::default()
        };
        self.usage.insert(id(&format!("p:{name}")), usage);
        self
    }

    fn profile(&mut self, name: &str) -> &mut Candidate {
        let id = id(&format!("p:{name}"));
        self.profiles.iter_mut().find(|profile| profile.id == id).unwrap()
    }

    fn input(&self) -> Input<'_> {
        Input {
            rules: self.rules,
            provider: &self.provider,
            provider_name: "Pea",
            profiles: &self.profiles,
            stored_order: self.stored.as_deref(),
            config_order: self.config.as_deref(),
            config_profiles: &self.config_profiles,
            usage: &self.usage,
            aws_sdk: self.aws_sdk,
            preferred: self.preferred.as_ref(),
            fallback_models: &self.fallbacks,
            now: NOW,
            time_zone: &UTC,
        }
    }

    fn resolve(&self) -> Resolution {
        resolve(&self.input())
    }

    fn candidates(&self) -> Vec<String> {
        let found = self.resolve().candidates;
        found.iter().map(|id| id.account_name().to_owned()).collect()
    }

    fn reason(&self) -> (String, String) {
        let reason = self.resolve().reason;
        (reason.code, reason.text)
    }
}

fn oauth(id: ProfileId) -> Candidate {
    Candidate {
        id,
        provider_text: "p".to_owned(),
        kind: CredentialKind::Oauth,
        secret: SecretPresence::Inline,
        expires: Expiry::At(NOW.plus_millis(-MINUTE)),
        inherited: false,
    }
}

fn says(code: &str, text: &str) -> (String, String) {
    (code.to_owned(), text.to_owned())
}

#[test]
fn a_release_is_read_by_the_nearest_rules() {
    assert_eq!(RuleSet::for_release(Some((2026, 2, 17))), RuleSet::V2_17);
    assert_eq!(RuleSet::for_release(Some((2026, 2, 26))), RuleSet::V4_29);
    assert_eq!(RuleSet::for_release(Some((2026, 5, 20))), RuleSet::V4_29);
    assert_eq!(RuleSet::for_release(Some((2026, 5, 28))), RuleSet::V6_1);
    assert_eq!(RuleSet::for_release(Some((2026, 7, 1))), RuleSet::V7_1);
    assert_eq!(RuleSet::for_release(Some((2026, 9, 6))), RuleSet::V9_6);
    assert_eq!(RuleSet::for_release(None), RuleSet::V6_1);
}

#[test]
fn without_an_order_nothing_is_the_account_and_the_first_in_rotation_is_next() {
    let found = World::new(&["a", "b", "c"]).resolve();
    assert_eq!(found.candidates, ids(&["a", "b", "c"]));
    assert_eq!(found.source, OrderSource::Rotation);
    assert_eq!(found.effective, Some(id("p:a")));
    assert!(!found.in_use);
    assert_eq!(found.reason.text, "rotating over 3");
    assert_eq!(found.passed_over, []);
}

#[test]
fn a_stored_order_makes_its_first_the_account() {
    let mut world = World::new(&["a", "b", "c"]).stored(&["b", "a"]);
    world.config = Some(ids(&["c"]));
    let found = world.resolve();
    assert_eq!(found.candidates, ids(&["b", "a"]));
    assert_eq!(found.source, OrderSource::Stored);
    assert!(found.in_use);
    assert_eq!(world.reason(), says("stored-order", "stored order"));
    assert_eq!(found.passed_over, [(id("p:c"), PassedOver::NotInStoredOrder)]);
    world.stored = None;
    assert_eq!(
        world.reason(),
        says("config-order", "auth.order in openclaw.json")
    );
    assert_eq!(
        world.resolve().passed_over[0],
        (id("p:a"), PassedOver::NotInConfigOrder)
    );
}

#[test]
fn a_resting_account_is_named_with_its_time_and_the_next() {
    let world =
        World::new(&["studio", "work"])
            .stored(&["studio", "work"])
            .rests("studio", 147, "rate_limit");
    let found = world.resolve();
    assert_eq!(found.candidates, ids(&["work", "studio"]));
    assert_eq!(found.effective, Some(id("p:work")));
    let text = "studio is resting until 16:40 (rate limit): next is work";
    assert_eq!(world.reason(), says("cooldown", text));
    let expected = Unusable {
        until: at(147).unwrap(),
        reason: Some("rate_limit".to_owned()),
        disabled: false,
    };
    assert_eq!(found.unusable, BTreeMap::from([(id("p:studio"), expected)]));

    let rotation = World::new(&["studio", "work", "lab"]).rests("studio", 1_440, "overloaded");
    let text = "rotating over 2; studio is resting until 22 Sep 14:13 (provider overloaded)";
    assert_eq!(rotation.reason(), says("rotating", text));
}

#[test]
fn an_account_that_cannot_be_used_is_passed_over_with_its_cause() {
    let mut world = World::new(&["a", "b"]).stored(&["a", "b"]);
    world.profile("a").secret = SecretPresence::None;
    let text = "stored order; a is passed over: it has no token or key";
    assert_eq!(world.reason(), says("stored-order", text));
    assert_eq!(World::new(&["a"]).reason(), says("only-one", "only account"));
}

#[test]
fn when_nothing_is_usable_the_next_model_is_named() {
    let mut world = World::new(&["a", "b"])
        .rests("a", 200, "auth")
        .rests("b", 147, "timeout");
    world.fallbacks = vec!["anthropic/claude".to_owned(), "z/z".to_owned()];
    let found = world.resolve();
    assert_eq!(found.candidates, ids(&["b", "a"]));
    assert_eq!((found.effective, found.in_use), (None, false));
    assert_eq!(found.reason.fallback_model.as_deref(), Some("anthropic/claude"));
    let text = "no account is ready for Pea until 16:40: next is the model anthropic/claude";
    assert_eq!(world.reason(), says("none-usable", text));

    assert_eq!(
        World::new(&[]).reason(),
        says("none-usable", "no account is ready for Pea")
    );
    let mut empty = World::new(&["a"]);
    empty.config = Some(Vec::new());
    assert_eq!(empty.candidates(), [""; 0]);
    let text = "no account is ready for Pea (a: not in auth.order of openclaw.json)";
    assert_eq!(empty.reason(), says("none-usable", text));
}

#[test]
fn a_billing_window_says_that_credit_is_gone() {
    let mut world = World::new(&["a", "b"]).stored(&["a", "b"]);
    let usage = Usage {
        cooldown_until: at(1),
        disabled_until: at(147),
        disabled_reason: Some("billing".to_owned()),
        ..Usage::default()
    };
    world.usage.insert(id("p:a"), usage);
    assert_eq!(
        world.reason().1,
        "a has no credit, tried again at 16:40: next is b"
    );
    assert!(world.resolve().unusable[&id("p:a")].disabled);
}

#[test]
fn a_pinned_account_is_used_even_while_it_rests() {
    let mut world = World::new(&["a", "b"]).rests("b", 5, "rate_limit");
    world.preferred = Some(id("p:b"));
    let found = world.resolve();
    assert_eq!(found.candidates, ids(&["b", "a"]));
    assert_eq!(found.effective, Some(id("p:b")));
    assert_eq!(world.reason(), says("session-pin", "pinned for this session"));
    world.preferred = Some(id("p:gone"));
    assert_eq!(world.resolve().effective, Some(id("p:a")));
}

#[test]
fn each_release_counts_its_own_windows() {
    let mut world = World::new(&["a", "b"]).stored(&["a", "b"]);
    let usage = Usage {
        blocked_until: at(5),
        ..Usage::default()
    };
    world.usage.insert(id("p:a"), usage);
    for (rules, first) in [(RuleSet::V2_17, "a"), (RuleSet::V4_29, "a"), (RuleSet::V6_1, "b")] {
        world.rules = rules;
        assert_eq!(world.candidates()[0], first, "{rules:?}");
    }
}

#[test]
fn every_cause_of_passing_over_has_a_code_and_words() {
    let mut world = World::new(&[
        "ok", "type", "other", "mode", "secret", "side", "date", "ended", "hidden",
    ])
    .stored(&[
        "gone", "type", "other", "provider", "mode", "secret", "side", "date", "ended", "ok",
    ])
    .configured("mode", ConfigMode::ApiKey);
    world.profiles.push(oauth(id("p:provider")));
    world.config_profiles.push(ConfigProfile {
        id: id("p:provider"),
        provider_text: "q".to_owned(),
        mode: ConfigMode::Oauth,
    });
    world.profile("type").kind = CredentialKind::Unknown;
    world.profile("other").provider_text = "q".to_owned();
    world.profile("secret").secret = SecretPresence::None;
    world.profile("side").secret = SecretPresence::SideFile;
    world.profile("date").kind = CredentialKind::Token;
    world.profile("date").expires = Expiry::Invalid;
    world.profile("ended").kind = CredentialKind::Token;
    let found = world.resolve();
    assert_eq!(found.candidates, ids(&["ok"]));
    let causes: Vec<(&str, &str)> = found
        .passed_over
        .iter()
        .map(|(id, cause)| (id.account_name(), cause.code()))
        .collect();
    let expected = [
        ("gone", "not-in-store"),
        ("type", "unknown-type"),
        ("other", "other-provider"),
        ("provider", "config-provider"),
        ("mode", "config-mode"),
        ("secret", "no-secret"),
        ("side", "side-file"),
        ("date", "expiry-invalid"),
        ("ended", "token-expired"),
        ("hidden", "not-in-stored-order"),
    ];
    assert_eq!(causes, expected);
    assert!(
        found
            .passed_over
            .iter()
            .all(|(_, cause)| !cause.text().is_empty())
    );

    let mut old = World::new(&["a"]);
    old.rules = RuleSet::V2_17;
    old.profile("a").secret = SecretPresence::Reference;
    assert_eq!(
        old.resolve().passed_over,
        [(id("p:a"), PassedOver::ReferenceUnread)]
    );
    let hidden = World::new(&["a", "b"])
        .configured("a", ConfigMode::Oauth)
        .resolve();
    assert_eq!(hidden.passed_over, [(id("p:b"), PassedOver::HiddenByConfig)]);
}

#[test]
fn an_order_that_names_nobody_falls_back_by_release() {
    let world = |rules| {
        let mut world = World::new(&["b", "a"]).stored(&["gone"]);
        world.rules = rules;
        let used = Usage {
            last_used: at(-1),
            ..Usage::default()
        };
        world.usage.insert(id("p:b"), used);
        world
    };
    assert_eq!(world(RuleSet::V2_17).candidates(), [""; 0]);
    assert_eq!(world(RuleSet::V4_29).candidates(), [""; 0]);
    let found = world(RuleSet::V6_1).resolve();
    assert_eq!(found.candidates, ids(&["a", "b"]));
    assert_eq!((found.source, found.in_use), (OrderSource::Rotation, false));
    assert_eq!(
        found.reason.text,
        "rotating over 2; the order names no account that exists"
    );
    let listed = |rules| world(rules).configured("b", ConfigMode::Oauth).candidates();
    assert_eq!(listed(RuleSet::V2_17), [""; 0]);
    assert_eq!(listed(RuleSet::V4_29), ["b", "a"]);
    assert_eq!(listed(RuleSet::V6_1), ["a", "b"]);
}

#[test]
fn aws_profiles_need_no_credential_in_the_newest_release() {
    let mut world = World::new(&[]).configured("sso", ConfigMode::AwsSdk);
    assert_eq!(world.candidates(), [""; 0]);
    world.aws_sdk = true;
    assert_eq!(world.candidates(), ["sso"]);
    world.rules = RuleSet::V4_29;
    assert_eq!(world.candidates(), [""; 0]);
}

#[test]
fn a_switch_puts_the_chosen_first_and_keeps_the_rest_in_order() {
    let mut world = World::new(&["a", "b", "c", "d"]).stored(&["b", "gone", "a", "c"]);
    world.profile("a").secret = SecretPresence::None;
    let plan = plan_activation(&world.input(), &id("p:c")).unwrap();
    assert_eq!(plan.new_order, ids(&["c", "b", "a", "d"]));
    assert_eq!(
        (plan.unchanged, plan.notes, plan.overridden),
        (false, vec![], None)
    );

    let world = World::new(&["a", "b"]).stored(&["a", "b"]);
    assert!(plan_activation(&world.input(), &id("p:a")).unwrap().unchanged);
}

#[test]
fn a_switch_out_of_rotation_says_that_the_order_becomes_fixed() {
    let mut world = World::new(&["a", "b", "c"]).rests("a", 5, "rate_limit");
    let plan = plan_activation(&world.input(), &id("p:c")).unwrap();
    assert_eq!(plan.new_order, ids(&["c", "b", "a"]));
    assert_eq!(plan.notes, [Note::RotationBecomesFixed]);

    world.config = Some(ids(&["b", "a"]));
    let plan = plan_activation(&world.input(), &id("p:a")).unwrap();
    assert_eq!(plan.new_order, ids(&["a", "b", "c"]));
    assert_eq!(plan.notes, [Note::ReplacesConfigOrder]);
}

#[test]
fn a_profile_hidden_by_the_config_is_shown_by_the_stored_order() {
    let world = World::new(&["a", "b", "c"]).configured("b", ConfigMode::Oauth);
    assert_eq!(world.candidates(), ["b"]);
    let plan = plan_activation(&world.input(), &id("p:a")).unwrap();
    assert_eq!(plan.new_order, ids(&["a", "b", "c"]));
    assert_eq!(plan.notes, [Note::RotationBecomesFixed, Note::ShownDespiteConfig]);
    assert_eq!(plan.overridden, None);
}

#[test]
fn a_switch_that_no_order_can_bring_about_is_refused() {
    let mut world = World::new(&["mode", "other", "secret", "main"]).configured("mode", ConfigMode::Token);
    world.profile("other").provider_text = "q".to_owned();
    world.profile("secret").secret = SecretPresence::None;
    world.profile("main").inherited = true;
    let refused = |name: &str| plan_activation(&world.input(), &id(name)).unwrap_err();
    let mode = PassedOver::ConfigMode {
        mode: ConfigMode::Token,
    };
    assert_eq!(refused("p:mode"), Refusal::ConfigDisagrees(mode));
    assert_eq!(refused("p:other"), Refusal::OtherProvider);
    assert_eq!(refused("p:secret"), Refusal::Unusable(PassedOver::NoSecret));
    assert_eq!(refused("p:main"), Refusal::Inherited);
    assert_eq!(refused("p:gone"), Refusal::Unknown);
    let codes = ["p:mode", "p:other", "p:secret", "p:main", "p:gone"]
        .map(|name| refused(name).into_error(&id(name)).code().as_str());
    let expected = [
        "order.overridden",
        "order.invalid",
        "order.overridden",
        "profile.inherited",
        "profile.unknown",
    ];
    assert_eq!(codes, expected);
}

#[test]
fn what_overrides_a_switch_is_named() {
    let mut world = World::new(&["studio", "work"]).rests("studio", 147, "rate_limit");
    let studio = id("p:studio");
    let words = |plan: Plan| plan.overridden.unwrap().text(&studio, NOW, &UTC);
    let plan = plan_activation(&world.input(), &studio).unwrap();
    assert_eq!(
        words(plan),
        "studio is resting until 16:40 (rate limit): next is work"
    );

    world.preferred = Some(id("p:work"));
    let plan = plan_activation(&world.input(), &studio).unwrap();
    assert_eq!(plan.overridden, Some(Override::SessionPin(id("p:work"))));
    assert_eq!(words(plan), "a session is pinned to work");

    let elsewhere = World::new(&["studio", "work"]).stored(&["work"]).resolve();
    let cause = Override::PassedOver(PassedOver::NotInStoredOrder);
    assert_eq!(overridden_by(&elsewhere, &studio), Some(cause));
    let behind = World::new(&["studio", "work"])
        .stored(&["work", "studio"])
        .resolve();
    assert_eq!(
        overridden_by(&behind, &studio),
        Some(Override::Order(Some(id("p:work"))))
    );
    assert_eq!(overridden_by(&behind, &id("p:work")), None);
}

#[test]
fn a_sign_in_is_appended_to_an_explicit_order_only() {
    let new = id("p:new");
    let mut world = World::new(&["a", "b"]);
    assert_eq!(plan_append(&world.input(), &new), None);
    world.config = Some(ids(&["b", "gone"]));
    let plan = plan_append(&world.input(), &new).unwrap();
    assert_eq!(plan.new_order, ids(&["b", "new"]));
    assert_eq!(plan.notes, [Note::ReplacesConfigOrder]);
    let world = world.stored(&["a"]);
    assert_eq!(
        plan_append(&world.input(), &new).unwrap().new_order,
        ids(&["a", "new"])
    );
    assert_eq!(plan_append(&world.input(), &id("p:a")), None);
}
