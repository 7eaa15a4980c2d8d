//! A segment of the store's journal: what is read lies within the bytes, and is written as it was read.
#![cfg_attr(fuzzing, no_main)]

use pinfold::store::segment::{Batch, body, read, read_body};

/// Reads `data` as the segment number 1, and as the body of an entry.
pub(crate) fn run(data: &[u8]) {
    if let Ok(segment) = read(1, data) {
        assert!(segment.intact <= data.len());
        assert_eq!(read(1, &data[..segment.intact]).as_ref(), Ok(&segment));
        for batch in &segment.batches {
            is_written_as_it_was_read(batch, segment.intact);
        }
    }
    if let Some(batch) = read_body(data) {
        is_written_as_it_was_read(&batch, data.len());
    }
}

fn is_written_as_it_was_read(batch: &Batch, length: usize) {
    let bytes = body(batch).expect("what was read is short enough");
    assert!(bytes.len() <= length);
    assert_eq!(read_body(&bytes).as_ref(), Some(batch));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
