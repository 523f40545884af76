//! How a registry's certificate is judged.
//!
//! Beside the usual chain, a self-signed certificate that the user put into `certs.d` is believed when
//! the server shows that very certificate, although it calls itself an authority. Docker does so, and
//! it is what most private registries have.
//!
//! Spec: RFC 5280 section 4.1 for the validity that is read from such a certificate.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::base::time::from_civil;

/// The usual rules, and certificates that are believed as they are.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) inner: Arc<WebPkiServerVerifier>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.certificates.iter().any(|c| c == end_entity) {
            return self.inner.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let (from, until) =
            validity(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match () {
            () if now < from => Err(Error::InvalidCertificate(CertificateError::NotValidYet)),
            () if now > until => Err(Error::InvalidCertificate(CertificateError::Expired)),
            () => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// First and last second in which a certificate is valid, since the epoch.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // An explicit version is optional; then come serial, signature algorithm and issuer.
    if fields.first() == Some(&0xa0) {
        fields = element(fields)?.2;
    }
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, dates, _) = element(fields)?;
    let (kind, from, rest) = element(dates)?;
    let (kind_until, until, _) = element(rest)?;
    Some((date(kind, from)?, date(kind_until, until)?))
}

/// Tag, content and what follows, of one DER element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let (digits, after) = rest.split_at_checked(length - 0x80)?;
        if digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |n, d| n << 8 | usize::from(*d));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// A UTCTime (`YYMMDDhhmmssZ`) or a GeneralizedTime (`YYYYMMDDhhmmssZ`).
fn date(tag: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = text.split_at_checked(if tag == UTC_TIME { 2 } else { 4 })?;
    let mut year: i64 = year.parse().ok()?;
    if tag == UTC_TIME {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let part = |i: usize| rest.get(i..i + 2)?.parse::<u32>().ok();
    from_civil(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_dates_are_read() {
        assert_eq!(date(0x17, b"700101000001Z"), Some(1));
        assert_eq!(date(0x17, b"260101000000Z"), date(0x18, b"20260101000000Z"));
        assert_eq!(date(0x18, b"20500101000000Z"), Some(2_524_608_000));
        for bad in [&b"7001010000Z"[..], b"700101000001", b"\xff", b"+01010000001Z"] {
            assert_eq!(date(0x17, bad), None);
        }
    }

    #[test]
    fn elements_end_where_they_say() {
        assert_eq!(element(&[0x30, 2, 1, 2, 9]), Some((0x30, &[1, 2][..], &[9][..])));
        assert_eq!(element(&[0x30, 0x81, 1, 7]), Some((0x30, &[7][..], &[][..])));
        for bad in [&[][..], &[0x30], &[0x30, 2, 1], &[0x30, 0x85, 0, 0, 0, 0, 0], &[0x30, 0x82, 1]]
        {
            assert_eq!(element(bad), None);
        }
        assert_eq!(validity(&[0x30, 0]), None);
    }
}
