//! A stream is opened, as a server does that has something to deliver: whoever answers by a header speaks XMPP.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::{Unanswered, judge};
use crate::inspect::xmpp::{self, Opening};

/// Asks over `stream` for the node's own address, since which domains it serves is not known here. That it serves no
/// such domain it says after its header, and is well.
pub(super) async fn ask<S>(stream: &mut S, node: IpAddr) -> Result<(), Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let question = xmpp::question(&node.to_string());
    let asked = stream.write_all(question.as_bytes()).await;
    asked.map_err(|error| judge(&error))?;
    let mut said = Vec::with_capacity(512);
    loop {
        match xmpp::opening(&said) {
            Opening::Header(_) | Opening::Error => return Ok(()),
            Opening::Other => return Err(Unanswered::WRONG),
            Opening::Incomplete => {}
        }
        match stream.read_buf(&mut said).await {
            Ok(0) => return Err(Unanswered::WRONG),
            Ok(_) => {}
            Err(error) => return Err(judge(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::health::ProbeFailure;

    async fn answered(pieces: &[&[u8]]) -> Result<(), Option<ProbeFailure>> {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        let node = async {
            let mut asked = Vec::new();
            while !matches!(xmpp::opening(&asked), Opening::Header(_)) {
                assert!(theirs.read_buf(&mut asked).await.unwrap() > 0);
            }
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(theirs);
        };
        let node_ip = IpAddr::from([198, 51, 100, 11]);
        let (answer, ()) = tokio::join!(ask(&mut ours, node_ip), node);
        answer.map_err(|unanswered| unanswered.how)
    }

    #[tokio::test]
    async fn a_header_is_an_answer_and_so_is_an_error_and_nothing_else() {
        let header = xmpp::question("a");
        let (first, rest) = header.split_at(40);
        assert_eq!(answered(&[first.as_bytes(), rest.as_bytes()]).await, Ok(()));
        assert_eq!(answered(&[b"<stream:error><x/>"]).await, Ok(()));
        let wrong = Err(Some(ProbeFailure::WrongAnswer));
        for pieces in [&[b"220 smtp\r\n".as_slice()][..], &[first.as_bytes()], &[]] {
            assert_eq!(answered(pieces).await, wrong);
        }
    }
}
