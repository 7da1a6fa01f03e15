//! Whether what many clients saw of one account could have happened in one order, with each call at some
//! moment between its start and its end: linearizability, searched as by Wing and Gong (1993), with Lowe's
//! memory of what was tried. Start with `check`.

use std::collections::HashSet;

/// How an account stands, as far as calls tell. Names, addresses and passwords are numbers, one for each
/// value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub name: u32,
    pub address: u32,
    pub enabled: bool,
    pub mail: bool,
    pub password: u32,
    pub one_time: bool,
}

/// What a call asked, or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Looked, and found this. (Nobody is told a password: that field is not compared.)
    Look(State),
    Name(u32),
    Address(u32),
    Disable,
    /// Lifts the block of the mail account, too.
    Enable,
    DisableMail,
    EnableMail,
    Reset {
        password: u32,
        one_time: bool,
    },
    /// The person chose a new password.
    Choose {
        current: u32,
        new: u32,
    },
    /// The person was not let in with this password.
    TurnedAway {
        current: u32,
    },
}

impl Act {
    /// How the account stands afterwards; `None` where this could not have happened.
    fn on(self, before: State) -> Option<State> {
        let mut after = before;
        match self {
            Self::Look(found) => {
                after.password = found.password;
                return (after == found).then_some(before);
            }
            Self::Name(name) => after.name = name,
            Self::Address(address) => after.address = address,
            Self::Disable => after.enabled = false,
            Self::Enable => (after.enabled, after.mail) = (true, true),
            Self::DisableMail => after.mail = false,
            Self::EnableMail => after.mail = true,
            Self::Reset { password, one_time } => (after.password, after.one_time) = (password, one_time),
            Self::Choose { current, new } => {
                if !before.enabled || before.password != current {
                    return None;
                }
                (after.password, after.one_time) = (new, false);
            }
            Self::TurnedAway { current } => {
                return (!before.enabled || before.password != current).then_some(before);
            }
        }
        Some(after)
    }
}

/// One call. Moments are microseconds since the beginning of the history.
#[derive(Debug, Clone)]
pub struct Call {
    pub start: u64,
    /// `None` for a call without an answer: it may have been carried out at any time after its start.
    pub end: Option<u64>,
    pub act: Act,
    /// Whether the account was changed by it, where that was told.
    pub changed: Option<bool>,
    /// It is known to have been carried out. Every call with an end is.
    pub certain: bool,
    /// For people.
    pub told: String,
}

impl Call {
    fn on(&self, before: State) -> Option<State> {
        let after = self.act.on(before)?;
        // A reset with the same password is a change; nobody makes one here.
        match self.changed {
            Some(changed) if changed != (after != before) => None,
            Some(_) | None => Some(after),
        }
    }
}

/// What was carried out so far, in some order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Course {
    /// Of the calls with an end, by their start: all below this.
    below: usize,
    /// And these above it, in order.
    above: Vec<usize>,
    /// Of the calls without an end, in order.
    open: Vec<usize>,
    state: State,
}

/// More than any history here needs; beyond it there is no verdict.
const MOST_COURSES: usize = 4_000_000;

/// # Errors
/// Why no order of the calls explains what they were answered.
pub fn check(first: State, calls: &[Call]) -> Result<(), String> {
    let mut ended: Vec<&Call> = calls.iter().filter(|call| call.end.is_some()).collect();
    let mut open: Vec<&Call> = calls.iter().filter(|call| call.end.is_none()).collect();
    ended.sort_by_key(|call| call.start);
    open.sort_by_key(|call| call.start);
    let certain = open.iter().filter(|call| call.certain).count();
    let search = Search { ended, open };

    let start = Course { below: 0, above: Vec::new(), open: Vec::new(), state: first };
    let (mut tried, mut ahead) = (HashSet::new(), vec![start.clone()]);
    let mut furthest = start;
    while let Some(mut course) = ahead.pop() {
        search.look_around(&mut course);
        if course.below == search.ended.len()
            && course.open.iter().filter(|place| search.open[**place].certain).count() == certain
        {
            return Ok(());
        }
        if course.length() > furthest.length() {
            furthest = course.clone();
        }
        if tried.len() > MOST_COURSES {
            return Err("no verdict: too many orders are possible".to_owned());
        }
        if tried.insert(course.clone()) {
            // The last is tried first: calls with an end, those that ended earliest.
            ahead.extend(search.next(&course));
        }
    }
    Err(search.why(&furthest))
}

impl Course {
    fn length(&self) -> usize {
        self.below + self.above.len()
    }
}

struct Search<'a> {
    ended: Vec<&'a Call>,
    open: Vec<&'a Call>,
}

impl Search<'_> {
    /// The calls that may come next: none that is left had ended before they started. And the moment
    /// before which they must have started.
    fn candidates(&self, course: &Course) -> (Vec<usize>, u64) {
        let (mut found, mut limit) = (Vec::new(), u64::MAX);
        for (place, call) in self.ended.iter().enumerate().skip(course.below) {
            if call.start > limit {
                break;
            }
            if course.above.binary_search(&place).is_err() {
                limit = limit.min(call.end.unwrap_or(u64::MAX));
                found.push(place);
            }
        }
        found.retain(|place| self.ended[*place].start <= limit);
        (found, limit)
    }

    /// Carries out what may come next and changes nothing: it never stands in the way of anything else.
    fn look_around(&self, course: &mut Course) {
        loop {
            let (candidates, _) = self.candidates(course);
            let quiet = candidates
                .into_iter()
                .find(|place| self.ended[*place].on(course.state) == Some(course.state));
            match quiet {
                Some(place) => self.carry_out(course, place),
                None => return,
            }
        }
    }

    fn carry_out(&self, course: &mut Course, place: usize) {
        if let Err(before) = course.above.binary_search(&place) {
            course.above.insert(before, place);
        }
        while course.above.first() == Some(&course.below) {
            course.above.remove(0);
            course.below += 1;
        }
    }

    fn next(&self, course: &Course) -> Vec<Course> {
        let (mut candidates, limit) = self.candidates(course);
        let mut courses = Vec::new();
        for (place, call) in self.open.iter().enumerate() {
            if call.start <= limit
                && let Err(before) = course.open.binary_search(&place)
                && let Some(state) = call.on(course.state)
            {
                let mut one = Course { state, ..course.clone() };
                one.open.insert(before, place);
                courses.push(one);
            }
        }
        candidates.sort_by_key(|place| std::cmp::Reverse(self.ended[*place].end));
        for place in candidates {
            if let Some(state) = self.ended[place].on(course.state) {
                let mut one = Course { state, ..course.clone() };
                self.carry_out(&mut one, place);
                courses.push(one);
            }
        }
        courses
    }

    fn why(&self, furthest: &Course) -> String {
        let (candidates, _) = self.candidates(furthest);
        let tell = |call: &&Call| {
            format!(
                "{:?}..{:?} {:?} changed {:?} ({})",
                call.start, call.end, call.act, call.changed, call.told
            )
        };
        let next: Vec<_> = candidates.iter().map(|place| tell(&self.ended[*place])).collect();
        let before = self.ended.iter().take(furthest.below).rev().take(8).map(tell).collect::<Vec<_>>();
        let open: Vec<_> = self.open.iter().map(tell).collect();
        format!(
            "no order explains the answers: after {} of {} calls the account stands as {:?}, and none of {next:#?} \
             can come next; before came {before:#?}, without an answer were {open:#?}",
            furthest.length(),
            self.ended.len(),
            furthest.state
        )
    }
}

mod tests {
    use super::{Act, Call, State, check};

    const FIRST: State =
        State { name: 0, address: 0, enabled: true, mail: true, password: 0, one_time: false };

    fn call(start: u64, end: u64, act: Act) -> Call {
        Call { start, end: Some(end), act, changed: None, certain: true, told: String::new() }
    }

    fn unanswered(start: u64, act: Act, certain: bool) -> Call {
        Call { start, end: None, act, changed: None, certain, told: String::new() }
    }

    fn named(name: u32) -> Act {
        Act::Look(State { name, ..FIRST })
    }

    #[test]
    fn a_history_with_an_order_is_found_good() {
        let calls = [
            call(0, 10, Act::Name(1)),
            call(5, 15, Act::Name(2)),
            call(6, 7, named(0)),
            call(8, 9, named(2)),
            call(11, 12, named(1)),
            call(20, 21, named(1)),
        ];
        check(FIRST, &calls).expect("an order exists");
    }

    #[test]
    fn a_read_that_goes_back_is_found() {
        let calls = [call(0, 10, Act::Name(1)), call(11, 12, named(1)), call(13, 14, named(0))];
        check(FIRST, &calls).expect_err("a client saw the change, and another did not");
        let calls = [call(0, 10, Act::Name(1)), call(2, 3, named(1)), call(4, 5, named(0))];
        check(FIRST, &calls).expect_err("also before the change was answered");
    }

    #[test]
    fn an_acknowledged_change_that_is_lost_is_found() {
        let calls = [call(0, 10, Act::Disable), call(20, 30, Act::Name(1)), call(31, 32, named(1))];
        check(FIRST, &calls).expect_err("nobody enabled the account");
    }

    #[test]
    fn a_call_without_an_answer_happened_or_not_and_stays_so() {
        let lost = unanswered(0, Act::Name(1), false);
        check(FIRST, &[lost.clone(), call(10, 11, named(0))]).expect("not carried out");
        check(FIRST, &[lost.clone(), call(10, 11, named(0)), call(12, 13, named(1))]).expect("later");
        let back = [lost, call(10, 11, named(1)), call(12, 13, named(0))];
        check(FIRST, &back).expect_err("carried out, and then not");
        let certain = unanswered(5, Act::Name(1), true);
        check(FIRST, &[certain.clone(), call(10, 11, named(0))]).expect("after the last look");
        check(FIRST, &[call(0, 1, named(1)), certain]).expect_err("seen before it was asked");
    }

    #[test]
    fn a_password_that_opened_twice_is_found() {
        let reset = call(0, 1, Act::Reset { password: 1, one_time: true });
        let choose = |start, new| call(start, start + 5, Act::Choose { current: 1, new });
        let turned = call(3, 9, Act::TurnedAway { current: 1 });
        check(FIRST, &[reset.clone(), choose(2, 2), turned]).expect("one was first");
        check(FIRST, &[reset.clone(), choose(2, 2), choose(3, 3)]).expect_err("two winners");
        let early = call(2, 3, Act::TurnedAway { current: 1 });
        check(FIRST, &[reset, early, choose(4, 2)]).expect_err("it would have opened");
    }

    #[test]
    fn an_answer_that_says_wrongly_whether_something_changed_is_found() {
        let told = |changed| Call { changed: Some(changed), ..call(0, 10, Act::EnableMail) };
        check(FIRST, &[told(false)]).expect("mail was on");
        check(FIRST, &[told(true)]).expect_err("there was nothing to change");
    }
}
