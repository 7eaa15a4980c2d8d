//! Asking and being answered, by people at a terminal and by scripts.
//!
//! Owns how a question looks, and how often it may be answered wrongly: by people as often as they like, by a script
//! three times. Knows nothing of what is asked.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read as _, Write};

/// What is to be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'q> {
    /// In few words; by it a script's author is told what was missing.
    pub(super) name: &'q str,
    /// Why it is asked, and how it is answered. Said once for all questions with the same words, and after `?`.
    pub(super) why: &'static str,
    pub(super) example: &'static str,
    /// What an empty answer stands for.
    pub(super) default: &'q str,
    /// What stands in brackets.
    pub(super) shown: &'q str,
}

impl<'q> Question<'q> {
    /// One whose default is shown as it is; empty: there is none.
    pub(super) const fn new(
        name: &'q str,
        why: &'static str,
        example: &'static str,
        default: &'q str,
    ) -> Self {
        Self {
            name,
            why,
            example,
            default,
            shown: default,
        }
    }
}

/// A question that is answered by yes or no.
pub(super) const fn choice(
    name: &'static str,
    why: &'static str,
    default: &'static str,
) -> Question<'static> {
    Question::new(name, why, "yes, or no", default)
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Ended {
    /// Whoever was asked has had enough.
    Quit,
    /// Before this question was answered.
    EndOfInput(String),
    /// A script's answers to this question were wrong, and why the last one was.
    TooOften(String, String),
    System(io::Error),
}

impl From<io::Error> for Ended {
    fn from(cause: io::Error) -> Self {
        Self::System(cause)
    }
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Interview<R, W> {
    answers: R,
    screen: W,
    is_terminal: bool,
    explained: BTreeSet<&'static str>,
}

impl<R: BufRead, W: Write> Interview<R, W> {
    pub(super) fn new(answers: R, screen: W, is_terminal: bool) -> Self {
        Self {
            answers,
            screen,
            is_terminal,
            explained: BTreeSet::new(),
        }
    }

    /// Says something that is no question.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Ended> {
        writeln!(self.screen, "\n{}", filled("", text))?;
        Ok(())
    }

    /// Begins a group of questions.
    pub(super) fn begin(&mut self, title: &str) -> Result<(), Ended> {
        writeln!(self.screen, "\n== {title}")?;
        Ok(())
    }

    /// Asks until `read` takes the answer; what it refuses with is told.
    pub(super) fn ask<T>(
        &mut self,
        question: &Question<'_>,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<T, Ended> {
        if self.explained.insert(question.why) {
            self.explain(question)?;
        }
        let mut wrong = 0;
        loop {
            let refusal = match self.answer(question)?.as_str() {
                "q" | "quit" => return Err(Ended::Quit),
                "?" => {
                    self.explain(question)?;
                    continue;
                }
                answer if answer.chars().any(char::is_control) => {
                    "an answer is one line of text, without control characters".to_owned()
                }
                "" => match read(question.default) {
                    Ok(value) => return Ok(value),
                    Err(_) if question.default.is_empty() => "this needs an answer".to_owned(),
                    Err(refusal) => refusal,
                },
                answer => match read(answer) {
                    Ok(value) => return Ok(value),
                    Err(refusal) => refusal,
                },
            };
            writeln!(self.screen, "{}", filled("  ! ", &refusal))?;
            wrong += 1;
            if !self.is_terminal && wrong == WRONG_MAX {
                return Err(Ended::TooOften(question.name.to_owned(), refusal));
            }
        }
    }

    fn explain(&mut self, question: &Question<'_>) -> Result<(), Ended> {
        writeln!(self.screen, "\n{}", filled("  ", question.why))?;
        if !question.example.is_empty() {
            writeln!(self.screen, "{}", filled("  Example: ", question.example))?;
        }
        Ok(())
    }

    /// The next line, without the blanks around it.
    fn answer(&mut self, question: &Question<'_>) -> Result<String, Ended> {
        let shown = match question.shown {
            "" => String::new(),
            shown => format!(" [{shown}]"),
        };
        write!(self.screen, "{}{shown}: ", question.name)?;
        self.screen.flush()?;
        let mut line = Vec::new();
        let mut answers = (&mut self.answers).take(LINE_MAX);
        let length = answers.read_until(b'\n', &mut line)?;
        if length == 0 {
            // Whatever is said next begins on a line of its own.
            writeln!(self.screen)?;
            return Err(Ended::EndOfInput(question.name.to_owned()));
        }
        let answer = String::from_utf8_lossy(&line).trim().to_owned();
        if !self.is_terminal {
            let echo: String = answer.chars().filter(|c| !c.is_control()).collect();
            writeln!(self.screen, "{echo}")?;
        }
        Ok(answer)
    }
}

/// `text` in lines that fit a terminal: the first begins with `indent`, the others below its end.
fn filled(indent: &str, text: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if !is_empty && last + 1 + word.chars().count() > WIDTH {
            lines.push(" ".repeat(indent.chars().count()));
            is_empty = true;
        }
        if let Some(line) = lines.last_mut() {
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
        }
        is_empty = false;
    }
    lines.join("\n")
}

/// A script that is wrong thrice at one place is wrong altogether.
const WRONG_MAX: usize = 3;
/// Bytes of an answer; a list of many prefixes fits.
const LINE_MAX: u64 = 16 << 10;
/// The narrowest terminal that people use.
const WIDTH: usize = 78;

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question<'_> = Question::new("number", "It counts.", "7", "2");

    fn talk(answers: &[u8], is_terminal: bool) -> (Result<u8, Ended>, String) {
        let mut screen = Vec::new();
        let mut interview = Interview::new(answers, &mut screen, is_terminal);
        let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
        let answer = interview.ask(&QUESTION, number);
        (answer, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn an_answer_is_taken_and_nothing_stands_for_the_default() {
        for (answers, expected) in [
            (&b"7\n"[..], 7),
            (b" 7 \r\n", 7),
            (b"7", 7),
            (b"\n", 2),
            (b"x\n7\n", 7),
            (b"\x1b[A\n7\n", 7),
            (b"\xff\n7\n", 7),
            (b"?\n7\n", 7),
        ] {
            let (answer, screen) = talk(answers, false);
            assert_eq!(answer.unwrap(), expected, "{screen}");
            assert!(
                screen.contains("It counts.\n  Example: 7\nnumber [2]: "),
                "{screen}"
            );
        }
        let (_, screen) = talk(b"x\n7\n", false);
        assert!(
            screen.contains("  ! x is no number\nnumber [2]: 7"),
            "{screen}"
        );
        let (_, screen) = talk(b"?\n7\n", true);
        assert_eq!(screen.matches("It counts.").count(), 2, "{screen}");
    }

    #[test]
    fn a_script_ends_by_its_end_and_by_the_third_wrong_answer() {
        assert!(matches!(talk(b"", false).0, Err(Ended::EndOfInput(name)) if name == "number"));
        assert!(matches!(talk(b"x\n", false).0, Err(Ended::EndOfInput(_))));
        let (answer, _) = talk(b"x\ny\nz\n7\n", false);
        assert!(matches!(answer, Err(Ended::TooOften(_, why)) if why == "z is no number"));
        assert_eq!(talk(b"x\ny\nz\n7\n", true).0.unwrap(), 7, "people may err");
        assert!(matches!(talk(b"q\n", true).0, Err(Ended::Quit)));
    }

    #[test]
    fn a_line_without_an_end_is_no_memory_without_an_end() {
        let endless = vec![b'7'; 10 << 20];
        let (answer, screen) = talk(&endless, false);
        assert!(matches!(answer, Err(Ended::TooOften(..))));
        assert!(screen.len() < 1 << 20, "{}", screen.len());
    }

    #[test]
    fn text_fits_the_terminal() {
        let text = "word ".repeat(60);
        let filled = filled("  ! ", &text);
        assert!(filled.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(filled.starts_with("  ! word word") && filled.contains("\n    word"));
    }
}
