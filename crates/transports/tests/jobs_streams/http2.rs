//! Many streams of one job on one connection (RFC 9113).

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::common::Driver;
use crate::rig::Rig;

#[tokio::test]
async fn each_stream_of_a_connection_is_told_the_end_and_is_over() {
    let rig = Rig::start(Driver::Lanes).await;
    let work = rig.work("import").await;
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let builder = http2::Builder::new(TokioExecutor::new());
    let (send, connection) = builder.clone().timer(TokioTimer::new()).handshake(TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let get = async |last: &str| {
        let request = http::Request::get(format!("http://x/jobs/{}/events", work.id));
        let request = request.header("authorization", "Bearer u1").header("last-event-id", last);
        send.clone().send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(get("").await);
    }
    work.complete().await;
    streams.push(get("").await);
    let mut id = String::new();
    for stream in streams {
        assert_eq!(stream.status(), 200);
        let told = String::from_utf8(stream.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let blocks: Vec<&str> = told.trim_end().split("\n\n").collect();
        let [.., end, close] = &blocks[..] else { panic!("{told}") };
        assert!(close.contains("tidings.close") && close.contains("4007"), "{told}");
        assert_eq!(told.matches("event: job.completed").count(), 1, "{told}");
        id = end.lines().find_map(|line| line.strip_prefix("id: ")).expect("the end has its place").to_owned();
    }
    let again = get(&id).await;
    assert_eq!((again.status().as_u16(), again.headers()["cache-control"].to_str().unwrap()), (204, "no-store"));
    drop(send);
    connection.abort();
}
