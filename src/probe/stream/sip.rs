//! OPTIONS: whoever answers it by a final response speaks SIP, whatever the response says.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::{Unanswered, judge};
use crate::inspect::sip::{Judgement, Question, Transport};

/// Asks over `stream`, which begins at `local`, for the node's own address: a node asks nobody else then.
pub(super) async fn ask<S>(
    stream: &mut S,
    over: Transport,
    local: SocketAddr,
    node: IpAddr,
) -> Result<(), Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let target = match node {
        IpAddr::V4(node) => node.to_string(),
        IpAddr::V6(node) => format!("[{node}]"),
    };
    let random = [(); 3].map(|()| fastrand::u64(..));
    let question = Question::new(&target, local, over, random);
    let asked = stream.write_all(&question.text).await;
    asked.map_err(|error| judge(&error))?;
    let (mut hearing, mut said) = (question.hearing(), Vec::with_capacity(1024));
    loop {
        match hearing.judge(&said) {
            Judgement::Answered(_) => return Ok(()),
            Judgement::Awaited if said.len() < ANSWER_MAX => {}
            Judgement::Awaited | Judgement::Wrong => return Err(Unanswered::WRONG),
        }
        match stream.read_buf(&mut said).await {
            Ok(0) => return Err(Unanswered::WRONG),
            Ok(_) => {}
            Err(error) => return Err(judge(&error)),
        }
    }
}

/// Whoever has said so much and no answer will not answer.
const ANSWER_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::sip::{Answer, Message};
    use crate::pool::health::ProbeFailure;

    /// What comes of a question whose request is answered so.
    async fn answered(
        answer: impl FnOnce(&Message<'_>) -> Vec<u8>,
    ) -> Result<(), Option<ProbeFailure>> {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 17);
        let node = async {
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                assert!(theirs.read_buf(&mut heard).await.unwrap() > 0);
            }
            let answer = answer(&Message::read(&heard).unwrap());
            for piece in answer.chunks(100) {
                theirs.write_all(piece).await.unwrap();
            }
            drop(theirs);
        };
        let local = "192.0.2.1:4711".parse().unwrap();
        let node_ip = "2001:db8::11".parse().unwrap();
        let asked = ask(&mut ours, Transport::Tcp, local, node_ip);
        let (answered, ()) = tokio::join!(asked, node);
        answered.map_err(|unanswered| unanswered.how)
    }

    const WRONG: Result<(), Option<ProbeFailure>> = Err(Some(ProbeFailure::WrongAnswer));

    #[tokio::test]
    async fn any_final_response_to_it_is_an_answer() {
        let refuse = |request: &Message<'_>| {
            let to = request.to().unwrap();
            assert_eq!(to.host(), Some("[2001:db8::11]"));
            Answer::Forbidden.to(request, 1).unwrap()
        };
        assert_eq!(answered(refuse).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_no_sip_or_no_answer_is_wrong() {
        assert_eq!(
            answered(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await,
            WRONG
        );
        assert_eq!(answered(|_| Vec::new()).await, WRONG);
        let foreign = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKx\r\nl: 0\r\n\r\n";
        assert_eq!(answered(|_| foreign.to_vec()).await, WRONG);
        assert_eq!(answered(|_| b"\r\n".repeat(ANSWER_MAX / 2)).await, WRONG);
    }
}
