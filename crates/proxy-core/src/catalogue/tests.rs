//! Merging, ordering, refusing and finding.

use super::*;
use crate::names;

const LATEST: ProtocolVersion = ProtocolVersion::LATEST_SESSION;
const SESSIONLESS: ProtocolVersion = ProtocolVersion::LATEST_SESSIONLESS;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned()).unwrap()
}

fn source(name: &str, namespace: &str) -> Source {
    Source {
        name: name.into(),
        namespace: Namespace::new(namespace, "/"),
        trust_annotations: name == "trusted",
    }
}

fn listing(tools: &[&str]) -> Option<Arc<Listing>> {
    Some(Arc::new(Listing {
        capabilities: Some(raw(r#"{"tools":{},"resources":{}}"#)),
        tools: tools.iter().map(|tool| raw(tool)).collect(),
        ..Listing::default()
    }))
}

fn build(backends: &[(&str, &str, Option<Arc<Listing>>)]) -> Catalogue {
    let mut builder = CatalogueBuilder::new(None);
    for (name, namespace, listing) in backends {
        builder.add(source(name, namespace), listing.clone());
    }
    builder.build()
}

#[test]
fn definitions_keep_every_byte_but_their_name_and_their_order() {
    let catalogue = build(&[
        (
            "b",
            "b",
            listing(&[
                r#"{ "x":1.0e2, "name":"two" }"#,
                r#"{"name":"one","$defs":{"name":{}}}"#,
            ]),
        ),
        ("a", "a", None),
    ]);
    assert_eq!(
        catalogue.list(Kind::Tool, LATEST).as_str(),
        r#"{"tools":[{ "x":1.0e2, "name":"b/two" },{"name":"b/one","$defs":{"name":{}}}]}"#
    );
    let item = catalogue.tool("b/one").unwrap();
    assert_eq!(
        (&*item.local, item.local_json.as_str(), item.backend),
        ("one", r#""one""#, 0)
    );
}

#[test]
fn the_hash_depends_on_content_only() {
    let one = build(&[("a", "a", listing(&[r#"{"name":"x"}"#]))]);
    let same = build(&[("a", "a", listing(&[r#"{"name":"x"}"#]))]);
    let other = build(&[("a", "a", listing(&[r#"{"name":"y"}"#]))]);
    assert_eq!(one.hash(), same.hash());
    assert_ne!(one.hash(), other.hash());
}

#[test]
fn collisions_and_deceptive_names_are_left_out_with_a_warning() {
    let catalogue = build(&[
        (
            "a",
            "",
            listing(&[
                r#"{"name":"x","n":1}"#,
                r#"{"name":"x\u200by"}"#,
                r#"{"title":"no name"}"#,
            ]),
        ),
        ("b", "", listing(&[r#"{"name":"x","n":2}"#])),
    ]);
    assert_eq!(
        catalogue.list(Kind::Tool, LATEST).as_str(),
        r#"{"tools":[{"name":"x","n":1}]}"#
    );
    assert_eq!(catalogue.warnings().len(), 3);
    assert_eq!(&*catalogue.warnings()[2].backend, "b");
}

#[test]
fn long_names_are_cut_to_something_unique_and_stable() {
    let long = "n".repeat(200);
    let catalogue = build(&[(
        "a",
        "a",
        listing(&[&format!(r#"{{"name":"{long}"}}"#), &format!(r#"{{"name":"{long}2"}}"#)]),
    )]);
    let names: Vec<_> = catalogue
        .items(Kind::Tool)
        .iter()
        .map(|item| item.public.clone())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(
        names
            .iter()
            .all(|name| name.len() == names::MAX_NAME_BYTES && name.starts_with("a/nnn"))
    );
    assert_eq!(&*catalogue.tool(&names[1]).unwrap().local, format!("{long}2"));
}

#[test]
fn resource_uris_lead_to_their_backend() {
    let mut one = Listing::clone(listing(&[]).as_deref().unwrap());
    one.templates = vec![raw(r#"{"uriTemplate":"note://{id}/text","name":"n"}"#)];
    one.resources = vec![raw(r#"{"uri":"file:///a","name":"a"}"#)];
    let one = Some(Arc::new(one));
    let catalogue = build(&[
        ("files", "files", one.clone()),
        ("notes", "", one.clone()),
        ("bare", "", one),
    ]);
    let find = |uri: &str| catalogue.resource(uri).map(|target| (target.backend, target.local));
    assert_eq!(find("files+file:///a"), Some((0, "file:///a".into())));
    assert_eq!(
        find("files+other:///b"),
        Some((0, "other:///b".into())),
        "unlisted, by namespace"
    );
    assert_eq!(
        find("file:///a"),
        Some((1, "file:///a".into())),
        "the first that lists it"
    );
    assert_eq!(find("note://7/text"), Some((1, "note://7/text".into())), "by template");
    assert_eq!(find("what://ever"), None, "two candidates: refused, not guessed");
    assert_eq!(
        catalogue.template("files+note://{id}/text").unwrap().local,
        "note://{id}/text"
    );
}

#[test]
fn results_mention_public_uris() {
    let namespace = Namespace::new("files", "/");
    let check = |method, text: &str, expected: &str| {
        assert_eq!(localise_result(&method, raw(text), &namespace).as_str(), expected);
    };
    check(
        crate::Method::ToolsCall,
        r#"{"content":[{"type":"resource_link","uri":"a:1"},{"type":"resource","resource":{"uri":"a:2","text":"\"uri\""}},{"type":"text","text":"uri"}],"structuredContent":{"uri":"a:3"}}"#,
        r#"{"content":[{"type":"resource_link","uri":"files+a:1"},{"type":"resource","resource":{"uri":"files+a:2","text":"\"uri\""}},{"type":"text","text":"uri"}],"structuredContent":{"uri":"a:3"}}"#,
    );
    check(
        crate::Method::PromptsGet,
        r#"{"messages":[{"content":{"type":"resource","resource":{"uri":"a:2"}}},{"content":[{"uri":"a:3"}]}]}"#,
        r#"{"messages":[{"content":{"type":"resource","resource":{"uri":"files+a:2"}}},{"content":[{"uri":"files+a:3"}]}]}"#,
    );
    check(
        crate::Method::ResourcesRead,
        r#"{"contents":[{"uri":"a:1"}]}"#,
        r#"{"contents":[{"uri":"files+a:1"}]}"#,
    );
}

#[test]
fn capabilities_are_everything_until_all_answered_and_then_the_union() {
    let waiting = build(&[("a", "a", listing(&[])), ("b", "b", None)]);
    assert!(waiting.capabilities(LATEST).get("prompts").is_some());
    let complete = build(&[("a", "a", listing(&[]))]);
    assert_eq!(
        complete.capabilities(LATEST).as_str(),
        r#"{"tools":{"listChanged":true},"resources":{"listChanged":true}}"#
    );
}

#[test]
fn annotations_default_as_the_specification_says_and_trust_is_the_operators() {
    let tool = r#"{"name":"x","annotations":{"readOnlyHint":true,"destructiveHint":"yes"}}"#;
    let catalogue = build(&[("a", "a", listing(&[tool])), ("trusted", "t", listing(&[tool]))]);
    let (untrusted, trusted) = (catalogue.tool("a/x").unwrap(), catalogue.tool("t/x").unwrap());
    assert!(untrusted.annotations.read_only && !untrusted.annotations.destructive && untrusted.annotations.open_world);
    assert!(!untrusted.is_repeatable() && trusted.is_repeatable());
}

#[test]
fn each_revision_is_told_of_what_it_has() {
    let declare = |version, capabilities: &str| {
        Some(Arc::new(Listing {
            version: Some(version),
            capabilities: Some(raw(capabilities)),
            ..Listing::default()
        }))
    };
    let session = declare(
        LATEST,
        r#"{"resources":{"subscribe":true},"tasks":{"list":{},"requests":{"tools":{"call":{}}}}}"#,
    );
    let sessionless = declare(
        SESSIONLESS,
        r#"{"resources":{"subscribe":false},"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}}"#,
    );
    let both = build(&[("a", "a", session), ("b", "b", sessionless)]);
    let check = |version, expected: &str| assert_eq!(both.capabilities(version).as_str(), expected);
    let resources = r#""resources":{"listChanged":true,"subscribe":true}"#;
    check(ProtocolVersion::V2025_06_18, &format!("{{{resources}}}"));
    check(
        LATEST,
        &format!(r#"{{{resources},"tasks":{{"cancel":{{}},"requests":{{"tools":{{"call":{{}}}}}}}}}}"#),
    );
    check(
        SESSIONLESS,
        &format!(r#"{{{resources},"extensions":{{"io.modelcontextprotocol/tasks":{{}}}}}}"#),
    );
    assert!(both.offers(0, Feature::Subscriptions) && !both.offers(1, Feature::Subscriptions));
    assert!(both.offers(0, Feature::SessionTasks) && both.offers(1, Feature::Tasks));
}

/// A listing of a sessionless backend whose lists hold for `ttl_ms`.
fn sessionless(tools: &[&str], ttl_ms: u64, public: bool) -> Option<Arc<Listing>> {
    Some(Arc::new(Listing {
        version: Some(SESSIONLESS),
        freshness: [Freshness { ttl_ms, public }; 4],
        ..Listing::clone(listing(tools).as_deref().unwrap())
    }))
}

#[test]
fn each_era_gets_lists_in_its_own_form() {
    let tools = [
        r#"{ "name":"any", "outputSchema":{"type":"array"} }"#,
        r#"{"name":"object","outputSchema":{"type":"object"}}"#,
        r#"{"name":"task","execution":{"taskSupport":"required"}}"#,
        r#"{"name":"more","execution":{"taskSupport":"optional","x":1}}"#,
    ];
    let catalogue = build(&[("a", "", sessionless(&tools, 500, true))]);
    assert_eq!(
        catalogue.list(Kind::Tool, LATEST).as_str(),
        format!(
            r#"{{"tools":[{{"name":"any"}},{},{},{}]}}"#,
            tools[1], tools[2], tools[3]
        )
    );
    assert_eq!(
        catalogue.list(Kind::Tool, SESSIONLESS).as_str(),
        format!(
            r#"{{"resultType":"complete","tools":[{},{},{{"name":"task"}},{{"name":"more","execution":{{"x":1}}}}],"ttlMs":500,"cacheScope":"public"}}"#,
            tools[0], tools[1]
        )
    );
    assert_eq!(
        catalogue.tool("task").unwrap().task_support,
        Some(TaskSupport::Required)
    );
    assert_eq!(catalogue.tool("any").unwrap().task_support, None);
    // What a session-era backend says to a session-era client is between the two.
    let wide = [r#"{"name":"any","outputSchema":{"type":"array"}}"#];
    let same_era = build(&[("a", "", listing(&wide))]);
    assert!(same_era.list(Kind::Tool, LATEST).as_str().contains("array"));
}

#[test]
fn a_merged_list_holds_no_longer_than_any_of_its_parts() {
    let hints = |backends: &[(&str, &str, Option<Arc<Listing>>)]| {
        let catalogue = build(backends);
        let list = catalogue.list(Kind::Tool, SESSIONLESS);
        Freshness::of(list)
    };
    let (long, short) = (sessionless(&[], 900, true), sessionless(&[], 20, true));
    let check = |backends: &[_], ttl_ms, public| assert_eq!(hints(backends), Freshness { ttl_ms, public });
    check(&[("a", "a", long.clone()), ("b", "b", short.clone())], 20, true);
    check(
        &[("a", "a", long.clone()), ("b", "b", sessionless(&[], 950, false))],
        900,
        false,
    );
    check(&[("a", "a", long.clone()), ("b", "b", listing(&[]))], 0, false);
    check(&[("a", "a", long.clone()), ("b", "b", None)], 0, false);
    check(&[], 0, false);
    let mut builder = CatalogueBuilder::new(None);
    builder.add(source("a", "a"), long);
    builder.away();
    assert_eq!(Freshness::of(builder.build().list(Kind::Tool, SESSIONLESS)).ttl_ms, 0);
}

#[test]
fn a_page_finds_the_tools_of_its_own_backend() {
    let with_page = |tools: &[&str]| {
        let mut listing = Listing::clone(listing(tools).as_deref().unwrap());
        listing.resources = vec![raw(r#"{"uri":"ui://page","name":"p"}"#)];
        Some(Arc::new(listing))
    };
    let catalogue = build(&[
        ("plain", "plain", listing(&[r#"{"name":"go"}"#])),
        ("a", "a", with_page(&[r#"{"name":"go"}"#, r#"{"name":"both"}"#])),
        ("b", "b", with_page(&[r#"{"name":"both"}"#])),
    ]);
    assert_eq!(&*catalogue.page_tool("go").unwrap().public, "a/go");
    assert!(
        catalogue.page_tool("both").is_none(),
        "two candidates: refused, not guessed"
    );
    assert!(catalogue.page_tool("gone").is_none());
}

#[test]
fn task_ids_say_whose_they_are() {
    let catalogue = build(&[("a", "", listing(&[])), ("b", "x", listing(&[]))]);
    assert_eq!(catalogue.task(&public_task_id("b", "7.x")), Some((1, "7.x")));
    assert_eq!(catalogue.task("x.7"), None, "the backend's name, not its namespace");
    assert_eq!(catalogue.task("7"), None);
    assert_eq!(catalogue.bare(), Some(0));
    assert_eq!(build(&[("a", "", None), ("b", "", None)]).bare(), None);
}
