//! What a peer says beside its data once hands are shaken, where no library listens.
//!
//! Owns what each such record means for whoever moves the data, and refuses what the library would refuse: RFC 5246,
//! section 7, and RFC 8446, sections 4.6 and 6. Does not answer. Bounded in memory and in patience.

use rustls::{AlertDescription, Error, PeerMisbehaved};

use crate::sys::kernel_tls::{ALERT, HANDSHAKE, Version};

/// What follows from a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// The peer sends nothing more.
    Closing,
    /// The peer's next record is encrypted with its next keys; whether ours are to follow.
    Renewed {
        /// It asks for ours to be renewed too.
        asks: bool,
    },
    /// The peer would shake hands anew, which it is refused.
    Renegotiation,
}

/// Listens to one peer.
#[derive(Debug)]
pub struct Control {
    version: Version,
    is_client: bool,
    /// The message that has begun: its header, and a byte of what follows.
    begun: [u8; HEADER + 1],
    known: usize,
    /// What of it is passed over yet.
    rest: usize,
    /// Records without data in a row.
    idle: u32,
    renegotiations: u32,
}

/// Type and length of a message: RFC 8446, section 4.
const HEADER: usize = 4;

impl Control {
    /// Listens for a side that is the client, or the server.
    #[must_use]
    pub const fn new(version: Version, is_client: bool) -> Self {
        Self {
            version,
            is_client,
            begun: [0; HEADER + 1],
            known: 0,
            rest: 0,
            idle: 0,
            renegotiations: 0,
        }
    }

    /// Data came.
    pub const fn note_data(&mut self) {
        self.idle = 0;
    }

    /// Records of data came, and no data.
    ///
    /// # Errors
    ///
    /// There were too many.
    pub fn note_empty(&mut self) -> Result<(), Error> {
        self.idle += 1;
        match self.idle <= IDLE_MAX {
            true => Ok(()),
            false => Err(Error::General("too many records without data".into())),
        }
    }

    /// A record of type `kind`, or the next part of one, that is no data.
    ///
    /// # Errors
    ///
    /// The connection is over: the peer has ended it by an alert, or said what it may not say here.
    pub fn hear(&mut self, kind: u8, bytes: &[u8]) -> Result<Said, Error> {
        self.note_empty()?;
        match (kind, bytes) {
            (ALERT, &[level, description]) => self.alert(level, description),
            (HANDSHAKE, [_, ..]) => self.handshake(bytes),
            _ => Err(unexpected(kind)),
        }
    }

    fn alert(&self, level: u8, description: u8) -> Result<Said, Error> {
        let is_mild = match self.version {
            Version::Tls12 => level == WARNING,
            Version::Tls13 => description == USER_CANCELED,
        };
        match description {
            CLOSE_NOTIFY => Ok(Said::Closing),
            _ if is_mild => Ok(Said::Nothing),
            fatal => Err(Error::AlertReceived(AlertDescription::from(fatal))),
        }
    }

    fn handshake(&mut self, mut bytes: &[u8]) -> Result<Said, Error> {
        let mut said = Said::Nothing;
        while let Some((&first, others)) = bytes.split_first() {
            // Keys change between records: RFC 8446, section 5.1.
            if matches!(said, Said::Renewed { .. }) {
                return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
            }
            if self.rest > 0 {
                let (_, after) = bytes.split_at(self.rest.min(bytes.len()));
                self.rest -= bytes.len() - after.len();
                bytes = after;
                continue;
            }
            if let Some(place) = self.begun.get_mut(self.known) {
                *place = first;
            }
            self.known += 1;
            bytes = others;
            if let Some(heard) = self.message()? {
                self.known = 0;
                said = heard;
            }
        }
        Ok(said)
    }

    /// What the message means that has begun, once that is known.
    fn message(&mut self) -> Result<Option<Said>, Error> {
        let [kind, length @ .., body] = self.begun;
        if self.known < HEADER {
            return Ok(None);
        }
        let [high, middle, low] = length.map(usize::from);
        let length = (high << 16) | (middle << 8) | low;
        let is_renegotiation = match self.is_client {
            true => kind == HELLO_REQUEST,
            false => kind == CLIENT_HELLO,
        };
        match self.version {
            Version::Tls12 if is_renegotiation => {
                self.rest = length;
                self.renegotiations += 1;
                match self.renegotiations {
                    1 => Ok(Some(Said::Renegotiation)),
                    _ => Err(PeerMisbehaved::TooManyRenegotiationRequests.into()),
                }
            }
            Version::Tls13 if self.is_client && kind == NEW_SESSION_TICKET => {
                self.rest = length;
                Ok(Some(Said::Nothing))
            }
            Version::Tls13 if kind == KEY_UPDATE && length == 1 => match (self.known, body) {
                (HEADER, _) => Ok(None),
                (_, 0) => Ok(Some(Said::Renewed { asks: false })),
                (_, 1) => Ok(Some(Said::Renewed { asks: true })),
                _ => Err(unexpected(kind)),
            },
            Version::Tls12 | Version::Tls13 => Err(unexpected(kind)),
        }
    }
}

fn unexpected(kind: u8) -> Error {
    Error::General(format!("an unexpected message of type {kind}"))
}

/// `KeyUpdate` that asks for nothing: RFC 8446, section 4.6.3.
pub const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
/// `close_notify`: RFC 8446, section 6.1.
pub const CLOSE_NOTIFY_ALERT: [u8; 2] = [WARNING, CLOSE_NOTIFY];
/// `no_renegotiation`: RFC 5246, section 7.2.2.
pub const NO_RENEGOTIATION_ALERT: [u8; 2] = [WARNING, 100];

const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// As many as the library bears of one kind.
const IDLE_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICKET: [u8; 9] = [NEW_SESSION_TICKET, 0, 0, 5, 1, 2, 3, 4, 5];

    #[test]
    fn keys_are_renewed_however_the_message_is_chopped_and_whether_an_answer_is_asked() {
        for (byte, asks) in [(0, false), (1, true)] {
            let message = [KEY_UPDATE, 0, 0, 1, byte];
            for at in 0..message.len() {
                let mut control = Control::new(Version::Tls13, false);
                let (first, second) = message.split_at(at);
                if at > 0 {
                    assert_eq!(control.hear(HANDSHAKE, first), Ok(Said::Nothing));
                }
                let said = control.hear(HANDSHAKE, second);
                assert_eq!(said, Ok(Said::Renewed { asks }));
            }
        }
    }

    #[test]
    fn nothing_follows_new_keys_within_a_record() {
        let mut control = Control::new(Version::Tls13, true);
        let record = [&KEY_UPDATE_MESSAGE[..], &TICKET].concat();
        assert!(control.hear(HANDSHAKE, &record).is_err());
        let mut control = Control::new(Version::Tls13, true);
        let record = [&TICKET[..], &KEY_UPDATE_MESSAGE].concat();
        let said = control.hear(HANDSHAKE, &record);
        assert_eq!(said, Ok(Said::Renewed { asks: false }));
    }

    #[test]
    fn tickets_are_passed_over_by_a_client_and_never_sent_by_one() {
        let tickets = TICKET.repeat(3);
        for at in 1..tickets.len() {
            let mut control = Control::new(Version::Tls13, true);
            for part in [&tickets[..at], &tickets[at..], &TICKET] {
                assert_eq!(control.hear(HANDSHAKE, part), Ok(Said::Nothing));
            }
        }
        let mut server = Control::new(Version::Tls13, false);
        assert!(server.hear(HANDSHAKE, &TICKET).is_err());
    }

    #[test]
    fn a_handshake_anew_is_refused_once_and_then_no_longer_borne() {
        let hello = [CLIENT_HELLO, 0, 0, 3, 9, 9, 9];
        let request = [HELLO_REQUEST, 0, 0, 0];
        for (is_client, message) in [(false, &hello[..]), (true, &request)] {
            let mut control = Control::new(Version::Tls12, is_client);
            let said = control.hear(HANDSHAKE, message);
            assert_eq!(said, Ok(Said::Renegotiation));
            assert!(control.hear(HANDSHAKE, message).is_err());
            let mut newer = Control::new(Version::Tls13, is_client);
            assert!(newer.hear(HANDSHAKE, message).is_err());
        }
    }

    #[test]
    fn alerts_end_the_connection_in_order_or_not_and_mild_ones_do_not() {
        for version in [Version::Tls12, Version::Tls13] {
            let mut control = Control::new(version, false);
            assert_eq!(control.hear(ALERT, &CLOSE_NOTIFY_ALERT), Ok(Said::Closing));
            let fatal = control.hear(ALERT, &[2, 20]).unwrap_err();
            let expected = Error::AlertReceived(AlertDescription::BadRecordMac);
            assert_eq!(fatal, expected);
            let said = control.hear(ALERT, &[WARNING, USER_CANCELED]);
            assert_eq!(said, Ok(Said::Nothing));
            assert!(control.hear(ALERT, &[WARNING]).is_err());
        }
        let mut newer = Control::new(Version::Tls13, false);
        assert!(newer.hear(ALERT, &NO_RENEGOTIATION_ALERT).is_err());
    }

    #[test]
    fn who_says_nothing_but_asides_is_not_listened_to_for_ever() {
        let mut control = Control::new(Version::Tls13, false);
        let mut hear = || control.hear(HANDSHAKE, &KEY_UPDATE_MESSAGE);
        assert!((0..IDLE_MAX).all(|_| hear().is_ok()));
        assert!(hear().is_err());
        let mut control = Control::new(Version::Tls13, false);
        for _ in 0..IDLE_MAX * 4 {
            control.note_data();
            assert!(control.hear(HANDSHAKE, &KEY_UPDATE_MESSAGE).is_ok());
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_peer_says_makes_it_panic(
            records in prop::collection::vec((any::<u8>(), prop::collection::vec(0u8..30, 0..12)), 0..40),
            is_client: bool,
            is_new: bool,
        ) {
            let version = if is_new { Version::Tls13 } else { Version::Tls12 };
            let mut control = Control::new(version, is_client);
            for (kind, bytes) in records {
                let kind = if kind < 200 { HANDSHAKE } else { kind };
                if control.hear(kind, &bytes).is_err() {
                    break;
                }
                control.note_data();
                prop_assert!(control.known <= HEADER);
            }
        }
    }
}
