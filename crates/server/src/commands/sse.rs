//! Reads Server-Sent Events (WHATWG HTML §9.2.6).

/// The most bytes of one event; far above what the hub lets in.
const MOST: usize = 64 << 20;

/// One event as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its name; `message` if it has none.
    pub name: String,
    /// Its data, the lines joined.
    pub data: String,
}

/// Takes bytes as they come and gives events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    name: String,
    data: String,
    has_data: bool,
    pending_id: Option<String>,
    begun: bool,
    /// The id of the last event.
    pub last_id: String,
    /// The last `retry:`, in milliseconds.
    pub retry: Option<u64>,
}

/// The stream holds an event that is too large to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Parser {
    /// Takes bytes and hands out the events that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLarge> {
        let mut messages = Vec::new();
        for byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    messages.extend(self.take(&line));
                }
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > MOST {
                return Err(TooLarge);
            }
        }
        Ok(messages)
    }

    /// A new connection begins: what was half there is gone, the place is kept.
    pub fn restart(&mut self) {
        *self = Parser { last_id: std::mem::take(&mut self.last_id), retry: self.retry, ..Parser::default() };
    }

    fn take(&mut self, line: &[u8]) -> Option<Message> {
        let mut line = String::from_utf8_lossy(line);
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = line.strip_prefix('\u{feff}')
        {
            line = rest.to_owned().into();
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.pending_id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok();
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Message> {
        if let Some(id) = self.pending_id.take() {
            self.last_id = id;
        }
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Message { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = "\u{feff}: hi\nretry: 1500\n\nevent: a\r\ndata: 1\r\ndata:2\r\nid: x-1\r\n\r\ndata\rid:y\r\r: beat\n\nevent: b\n\ndata: half";

    #[test]
    fn events_ids_and_retry_are_read_whatever_ends_the_lines() {
        let mut parser = Parser::default();
        let messages = parser.feed(STREAM.as_bytes()).unwrap();
        let message = |name: &str, data: &str| Message { name: name.into(), data: data.into() };
        assert_eq!(messages, [message("a", "1\n2"), message("message", "")]);
        assert_eq!((parser.last_id.as_str(), parser.retry), ("y", Some(1500)));
    }

    #[test]
    fn an_id_counts_only_when_its_event_is_whole() {
        let mut parser = Parser::default();
        parser.feed(b"data: 1\nid: a\n\ndata: 2\nid: b\n").unwrap();
        assert_eq!(parser.last_id, "a");
        parser.restart();
        assert_eq!(parser.feed(b"\n").unwrap(), []);
        assert_eq!(parser.last_id, "a");
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(cuts in prop::collection::vec(1usize..9, 1..60)) {
            let whole = Parser::default().feed(STREAM.as_bytes()).unwrap();
            let (mut parser, mut rest, mut messages) = (Parser::default(), STREAM.as_bytes(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                messages.extend(parser.feed(now).unwrap());
                rest = later;
            }
            prop_assert_eq!(messages, whole);
        }
    }
}
