//! How a subscriber is connected.

use std::fmt;

/// The transports a subscriber may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// Server-Sent Events
    Sse,
    /// WebSocket: its topic is in the query
    Websocket,
    /// Socket.IO over WebSocket: its topic is in the CONNECT packet
    Socketio,
    /// Socket.IO by long-polling, on one keep-alive connection
    SocketioPolling,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Sse => "sse",
            Transport::Websocket => "websocket",
            Transport::Socketio => "socketio",
            Transport::SocketioPolling => "socketio-polling",
        })
    }
}

impl Transport {
    /// The id in a frame of an event, in which it stands last.
    pub fn id(self, frame: &[u8]) -> Option<&str> {
        let id = match self {
            Transport::Sse => {
                frame.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"id:"))?.trim_ascii()
            }
            // The last string of the JSON.
            Transport::Websocket | Transport::Socketio | Transport::SocketioPolling => {
                let rest = &frame[..memchr::memrchr(b'"', frame)?];
                &rest[memchr::memrchr(b'"', rest)? + 1..]
            }
        };
        std::str::from_utf8(id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stands_last_in_a_frame() {
        let id = Some("9f3c2a1b-12");
        assert_eq!(Transport::Sse.id(b"event: bench\ndata: {\"id\": 3}\nid: 9f3c2a1b-12\n\n"), id);
        assert_eq!(Transport::Sse.id(b": heartbeat\n\n"), None);
        assert_eq!(Transport::Websocket.id(b"{\"type\":\"event\",\"data\":\"x\",\"cursor\":\"9f3c2a1b-12\"}"), id);
        assert_eq!(Transport::Socketio.id(b"42[\"bench\",{\"id\":3},\"9f3c2a1b-12\"]"), id);
        assert_eq!(Transport::Socketio.id(b"2"), None);
    }
}
