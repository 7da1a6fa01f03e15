//! Switches and blocks: on or off, and when on: who set it, with which rank, when and why.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::domain::actor::{Actor, Rank, Who};
use crate::domain::plain_text::is_plain_line;
use crate::error::Error;

/// Why somebody did something, in the person's own words: one line of at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

impl Reason {
    /// # Errors
    /// `BadValue` for more than 200 characters or control characters.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.chars().count() > 200 {
            return Err(Error::bad_value("reason", "a reason has at most 200 characters"));
        }
        if !is_plain_line(text) {
            return Err(Error::bad_value("reason", "a reason is one line of plain text"));
        }
        Ok(Some(Self(text.to_owned())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reason {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)?.ok_or_else(|| Error::bad_value("reason", "a reason is not empty"))
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

/// Whose hand is on a switch.
#[derive(Debug, Clone)]
pub struct Hand {
    pub who: Who,
    pub rank: Rank,
    /// The switch is on the hand's own account.
    pub own: bool,
    pub at: Millis,
    pub reason: Option<Reason>,
}

impl Hand {
    /// An actor's hand on somebody else's account.
    pub fn of(actor: &Actor, at: Millis, reason: Option<&Reason>) -> Self {
        Self { who: actor.who(), rank: actor.rank(), own: false, at, reason: reason.cloned() }
    }
}

/// A switch that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub by: Who,
    pub rank: Rank,
    pub at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// `None` is off.
pub type Switch = Option<Block>;

/// Turns a switch on. A repeat changes nothing, except that a higher rank takes the block over.
/// Answers whether the state itself changed (a take-over is no change of state).
pub fn set(switch: &mut Switch, hand: &Hand) -> bool {
    let was_off = switch.is_none();
    if switch.as_ref().is_none_or(|block| hand.rank > block.rank) {
        *switch =
            Some(Block { by: hand.who.clone(), rank: hand.rank, at: hand.at, reason: hand.reason.clone() });
    }
    was_off
}

/// Turns a switch off, if this hand may: its rank is at least the setter's, and on the own
/// account only what one set oneself. `name` is the block in the words of the refusal.
///
/// # Errors
/// `Forbidden`, naming the block and who can lift it.
pub fn lift(switch: &mut Switch, hand: &Hand, name: &str) -> Result<bool, Error> {
    let Some(block) = switch else { return Ok(false) };
    if hand.own && block.by != hand.who {
        return Err(Error::Forbidden(format!(
            "{name} was set by {}; nobody lifts on the own account what somebody else has set. Ask an administrator",
            block.rank.in_words()
        )));
    }
    if !hand.own && hand.rank < block.rank {
        return Err(Error::Forbidden(format!(
            "{name} was set by {}; only the same rank or a higher one can lift it",
            block.rank.in_words()
        )));
    }
    *switch = None;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;

    fn user(number: i64) -> Who {
        Who::User(UserId::new(1_000_000_000_000 + number).expect("in range"))
    }

    fn hand(number: i64, rank: Rank, own: bool) -> Hand {
        Hand { who: user(number), rank, own, at: 1, reason: None }
    }

    #[test]
    fn a_repeat_changes_nothing_and_a_higher_rank_takes_over() {
        let mut switch = None;
        assert!(set(&mut switch, &hand(1, Rank::Admin, false)));
        assert!(!set(&mut switch, &hand(2, Rank::Admin, false)));
        assert_eq!(switch.as_ref().map(|block| block.by.clone()), Some(user(1)));
        assert!(!set(&mut switch, &hand(3, Rank::SuperAdmin, false)));
        assert_eq!(switch.map(|block| (block.by, block.rank)), Some((user(3), Rank::SuperAdmin)));
    }

    #[test]
    fn a_lower_rank_cannot_lift_and_keeps_the_block() {
        let mut switch = None;
        set(&mut switch, &hand(1, Rank::SuperAdmin, false));
        assert!(matches!(lift(&mut switch, &hand(2, Rank::Admin, false), "x"), Err(Error::Forbidden(_))));
        assert!(switch.is_some());
        assert!(matches!(lift(&mut switch, &hand(3, Rank::SuperAdmin, false), "x"), Ok(true)));
        assert!(switch.is_none());
    }

    #[test]
    fn on_oneself_only_the_own_block_is_lifted_whatever_the_rank() {
        let mut switch = None;
        set(&mut switch, &hand(1, Rank::Member, false));
        assert!(lift(&mut switch, &hand(9, Rank::SuperAdmin, true), "x").is_err());
        assert!(matches!(lift(&mut switch, &hand(1, Rank::Member, true), "x"), Ok(true)));
    }

    #[test]
    fn what_is_off_already_is_lifted_by_anybody_without_effect() {
        let mut switch = None;
        assert!(matches!(lift(&mut switch, &hand(1, Rank::Member, true), "x"), Ok(false)));
        set(&mut switch, &hand(1, Rank::Admin, false));
        assert!(matches!(lift(&mut switch, &hand(2, Rank::Admin, false), "x"), Ok(true)));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let longest = "x".repeat(200);
        let reason = Reason::parse(&format!(" {longest} ")).expect("a reason").expect("one");
        assert_eq!((reason.as_str(), String::from(reason.clone())), (longest.as_str(), longest.clone()));
        assert!(matches!(Reason::try_from(longest), Ok(again) if again == reason));
        assert!(Reason::try_from(" ".to_owned()).is_err());
        assert!(Reason::parse(&"x".repeat(201)).is_err());
        assert!(Reason::parse("two\nlines").is_err());
        assert!(matches!(Reason::parse("  "), Ok(None)));
    }
}
