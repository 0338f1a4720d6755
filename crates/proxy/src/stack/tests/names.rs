//! Names that no list holds: tools that a page calls, methods nobody has a rule for, references of completions.

use mcp_proxy_core::catalogue::Listing;
use mcp_proxy_core::{Method, codes};

use super::{call, check_refused, ok, raw, stack};

fn with_page(tool: &str) -> Listing {
    Listing {
        capabilities: Some(raw(r#"{"tools":{},"resources":{}}"#)),
        tools: vec![raw(&format!(r#"{{"name":"{tool}"}}"#))],
        resources: vec![raw(r#"{"uri":"ui://page","name":"p"}"#)],
        ..Listing::default()
    }
}

#[tokio::test]
async fn a_page_calls_its_own_backend_by_the_names_it_knows() {
    let backends = vec![
        ("plain", "plain", Listing::default()),
        ("shop", "shop", with_page("buy")),
    ];
    let (service, seen, _) = stack(backends, |_| ok("{}"));
    for name in ["buy", "shop/buy"] {
        call(&service, Method::ToolsCall, &format!(r#"{{"name":"{name}"}}"#)).await;
        assert_eq!(
            std::mem::take(&mut *seen.lock().unwrap()),
            [r#"tools/call {"name":"buy"}"#]
        );
    }
}

#[tokio::test]
async fn a_page_is_refused_where_two_could_be_meant() {
    let backends = vec![("a", "a", with_page("buy")), ("b", "b", with_page("buy"))];
    let (service, seen, _) = stack(backends, |_| ok("{}"));
    let reply = call(&service, Method::ToolsCall, r#"{"name":"buy"}"#).await;
    assert!(reply.result().is_none() && seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_method_goes_to_the_only_backend_it_can_mean() {
    let bare = || ("bare", "", Listing::default());
    let named = || ("named", "named", Listing::default());
    let check = async |backends, reaches: bool| {
        let (service, seen, _) = stack(backends, |_| ok(r#"{"x":1}"#));
        let reply = call(&service, Method::from("acme/do"), r#"{ "a":1.0 }"#).await;
        assert_eq!(reply.result().is_some(), reaches);
        let expected: &[&str] = if reaches { &[r#"acme/do { "a":1.0 }"#] } else { &[] };
        assert_eq!(*seen.lock().unwrap(), expected);
        // What is known and not served is nobody's.
        let reply = call(&service, Method::TasksList, "").await;
        assert!(reply.result().is_none());
    };
    check(vec![bare()], true).await;
    check(vec![named(), bare()], true).await;
    check(vec![named()], false).await;
    check(vec![bare(), ("other", "", Listing::default())], false).await;
}

#[tokio::test]
async fn a_completion_says_what_it_is_about() {
    for reference in [
        r#"{"uri":"files+file:///{path}"}"#,
        r#"{"type":"ref/prompt","uri":"files+file:///{path}"}"#,
        r#"{"type":"ref/other","name":"files/ask"}"#,
        r#"{"type":"ref/prompt","name":"files/none"}"#,
        "7",
    ] {
        let params = format!(r#"{{"ref":{reference}}}"#);
        check_refused(Method::Complete, &params, codes::INVALID_PARAMS).await;
    }
}
