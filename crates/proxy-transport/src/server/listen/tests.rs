//! What binding refuses, and in which words. Serving is tested over real sockets in `tests/it`.

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::patience::{PATIENCE, Patient};
use super::*;
use crate::server::options::ServerTls;

async fn refused(options: ListenOptions) -> String {
    Listener::bind(options).await.expect_err("must be refused").to_string()
}

fn nothing() -> ListenOptions {
    ListenOptions {
        address: None,
        unix: None,
        tls: None,
    }
}

#[tokio::test]
async fn what_cannot_be_bound_is_named() {
    assert!(refused(nothing()).await.contains("nothing to listen on"));
    let any = || Some(("127.0.0.1".to_owned(), 0));
    let taken = Listener::bind(ListenOptions {
        address: any(),
        ..nothing()
    })
    .await
    .unwrap();
    let port = taken.local_addr().unwrap().port();
    let again = refused(ListenOptions {
        address: Some(("127.0.0.1".to_owned(), port)),
        ..nothing()
    })
    .await;
    assert!(
        again.starts_with(&format!("cannot listen on 127.0.0.1 port {port}: ")),
        "{again}"
    );
    let tls = ServerTls {
        cert: "/nonexistent/cert.pem".into(),
        key: "/nonexistent/key.pem".into(),
        client_ca: None,
    };
    let no_file = refused(ListenOptions {
        address: any(),
        tls: Some(tls),
        ..nothing()
    })
    .await;
    assert!(
        no_file.starts_with("the certificate in /nonexistent/cert.pem cannot be used: "),
        "{no_file}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_more_is_given_up() {
    let (ours, theirs) = tokio::io::duplex(16);
    let mut ours = Patient::new(ours);
    let began = Instant::now();
    let error = ours.write_all(&[0; 100]).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
    drop(theirs);
}
