//! Alerts: why one side ends a handshake.

/// How grave an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The connection goes on, or closes in order.
    Warning,
    /// The connection is over.
    Fatal,
}

/// An alert that crossed in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert {
    /// How grave.
    pub level: Level,
    /// What: a number of the registry of TLS alerts.
    pub description: u8,
}

impl Alert {
    /// The alert in these two bytes. Any level but `warning` counts as fatal, as receivers take it.
    #[must_use]
    pub const fn new([level, description]: [u8; 2]) -> Self {
        let level = match level {
            1 => Level::Warning,
            _ => Level::Fatal,
        };
        Self { level, description }
    }

    /// Its name in the registry; `unknown` for what is not in it, so that the list is closed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.description {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            114 => "bad_certificate_hash_value",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => "unknown",
        }
    }

    /// A record that says `protocol_version` and ends the handshake, in the version that every client
    /// can read (RFC 5246 appendix E.1).
    pub const PROTOCOL_VERSION_RECORD: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];
}
