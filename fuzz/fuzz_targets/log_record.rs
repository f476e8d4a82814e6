//! Any bytes as a segment of the log: read or refused, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_brokers::disk::format;

fuzz_target!(|bytes: &[u8]| {
    format::parse_segment(bytes);
    // A checksum keeps a fuzzer out, so it is also made to fit.
    if bytes.len() >= format::RECORD_HEAD {
        let mut record = bytes.to_vec();
        let length = record.len() as u32;
        record[..4].copy_from_slice(&length.to_le_bytes());
        format::seal_record(&mut record);
        format::parse_segment(&record);
    }
});
