//! The bytes of one batch of records; their layout is drawn in [`file`](super::file).

pub(super) const BATCH_MAGIC: &[u8; 4] = b"HFB\x01";
pub(super) const BATCH_HEADER_BYTES: usize = 32;
pub(super) const CHECKSUM_BYTES: usize = 16;
pub(super) const RECORD_HEADER_BYTES: usize = 4;
/// Largest payload of a batch; checked before it is allocated.
pub(super) const BATCH_MAX_BYTES: usize = 8 * 1024 * 1024;

/// One batch, whole.
pub(super) fn encode_batch(sequence: u64, records: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let payload: usize = records.iter().map(|r| r.as_ref().len() + RECORD_HEADER_BYTES).sum();
    let mut out = Vec::with_capacity(BATCH_HEADER_BYTES + payload);
    out.extend_from_slice(BATCH_MAGIC);
    let len = |n: usize| u32::try_from(n).expect("a payload is under 8 MiB").to_le_bytes();
    out.extend_from_slice(&len(payload));
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    for record in records {
        out.extend_from_slice(&len(record.as_ref().len()));
        out.extend_from_slice(record.as_ref());
    }
    let sum = checksum(&out[..16], &out[BATCH_HEADER_BYTES..]);
    out[16..BATCH_HEADER_BYTES].copy_from_slice(&sum);
    out
}

pub(super) fn checksum(fields: &[u8], payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(fields).update(payload);
    let hash = hasher.finalize();
    hash.as_bytes()[..CHECKSUM_BYTES].try_into().expect("a hash has 32 bytes")
}

/// The records of a payload with their offsets in it.
pub(super) struct Records<'a> {
    pub(super) payload: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.payload.get(self.at..)?.first_chunk::<RECORD_HEADER_BYTES>()?;
        let start = self.at + RECORD_HEADER_BYTES;
        let end = start.checked_add(u32::from_le_bytes(*header) as usize)?;
        let record = self.payload.get(start..end)?;
        self.at = end;
        Some((start, record))
    }
}
