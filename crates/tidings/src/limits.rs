//! Every bound in one place, with its reason.

use std::time::Duration;

/// The bounds of the engine and its transports. [`Default`] is sane for one small machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The most bytes of `data` in one event. A live update says what changed; whoever needs a megabyte fetches it.
    pub event_data: usize,
    /// The most bytes of `scope` in one event: a few ids.
    pub event_scope: usize,
    /// The most grants in one audience: each is looked up for each event.
    pub audience_grants: usize,
    /// The most events in one publish request that is not streamed.
    pub batch_events: usize,
    /// The most bytes of one publish request that is not streamed; the most bytes of one line of a streamed one.
    pub request_bytes: usize,
    /// The most events that the window keeps in memory.
    pub window_events: usize,
    /// The most bytes that the window keeps in memory. Resuming within it does not touch the disk.
    pub window_bytes: usize,
    /// The most bytes gathered for one write to one socket: enough for the cost of the call to vanish, few
    /// enough that one client does not hold up its lane.
    pub write_bytes: usize,
    /// The most bytes written to one socket that is behind before the others get their turn.
    pub turn_bytes: usize,
    /// The most events read from the broker in one page for a reader that is behind the window.
    pub page_events: usize,
    /// The most bytes of such a page.
    pub page_bytes: usize,
    /// The most such reads that run at once: each holds a page in memory.
    pub concurrent_reads: usize,
    /// The most topics in one subscription, and of all subscriptions of one connection together. Each that is of a job which nobody has at
    /// hand is looked up in the store before the subscription is answered.
    pub filter_topics: usize,
    /// The most subscriptions of one connection.
    pub subscriptions: usize,
    /// The most bytes of one message from a client, all its fragments together.
    pub message_bytes: usize,
    /// The most messages a second from one connection, pings included. Twice as many may come at once.
    pub messages_per_second: usize,
    /// The most connections held at once, all transports together. The next is closed unanswered, which costs nothing
    /// and lets a stock `EventSource` come back, where a status would make it give up.
    pub connections: usize,
    /// The most connections of one address, or of one /64 network of IPv6. Generous: a household, an office or a reverse proxy share one.
    pub connections_per_address: usize,
    /// The most streams of one principal that is not anonymous.
    pub connections_per_principal: usize,
    /// How long a client may take to send its request head, and how long a connection may idle between two requests:
    /// longer than what a busy publisher pauses, so that it does not find its connection closed.
    pub header_timeout: Duration,
    /// The most bytes of a request head.
    pub header_bytes: usize,
    /// How long a client may take to send a request body.
    pub request_timeout: Duration,
    /// How long a socket may take no byte before its stream is closed: the peer is gone, or asleep.
    pub write_stall: Duration,
    /// The longest a poll may wait.
    pub poll_wait: Duration,
    /// The most events of one poll answer.
    pub poll_events: usize,
    /// How long the program takes to send its streams away when it stops.
    pub drain_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            event_data: 1 << 20,
            event_scope: 16 << 10,
            audience_grants: 64,
            batch_events: 1_000,
            request_bytes: 8 << 20,
            window_events: 65_536,
            window_bytes: 64 << 20,
            write_bytes: 128 << 10,
            turn_bytes: 1 << 20,
            page_events: 1_000,
            page_bytes: 1 << 20,
            concurrent_reads: 64,
            filter_topics: 256,
            subscriptions: 64,
            message_bytes: 1_000_000,
            messages_per_second: 100,
            connections: 100_000,
            connections_per_address: 20_000,
            connections_per_principal: 1_000,
            header_timeout: Duration::from_secs(30),
            header_bytes: 32 << 10,
            request_timeout: Duration::from_secs(30),
            write_stall: Duration::from_secs(60),
            poll_wait: Duration::from_secs(55),
            poll_events: 500,
            drain_window: Duration::from_secs(10),
        }
    }
}
