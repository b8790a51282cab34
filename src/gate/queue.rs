//! Who goes next among those that wait: calls before messages, and all clients in turn.
//!
//! Deficit round-robin over clients, where every exchange costs one turn; so no client ever saves a deficit up, and what
//! is left of it is a ring. However many of its exchanges wait, a client has one of them served in each round. Calls go
//! before messages, but of every ten turns at least one is a message's, if one waits: no storm of calls starves them.
//! Pure, without a clock.

use std::collections::BTreeMap;

use crate::config::Priority;

/// Calls that may go in a row while messages wait.
const CALLS_IN_A_ROW: u32 = 9;

/// Those that wait, by client.
#[derive(Debug)]
pub(super) struct Queue<C, T> {
    calls: Ring<C, T>,
    messages: Ring<C, T>,
    /// Calls that went while messages waited, since a message went.
    passed_over: u32,
    /// The number of the next turn or ticket.
    next: u64,
}

/// Where somebody waits, to leave again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket<C> {
    client: C,
    priority: Priority,
    number: u64,
}

/// One priority's clients, in the order of their turns.
#[derive(Debug)]
struct Ring<C, T> {
    lines: BTreeMap<C, Line<T>>,
    /// Whose turn is next: the lowest number's.
    turns: BTreeMap<u64, C>,
}

/// One client's exchanges, in the order in which they came.
#[derive(Debug)]
struct Line<T> {
    turn: u64,
    waiting: BTreeMap<u64, T>,
}

impl<C: Clone + Ord, T> Queue<C, T> {
    pub(super) fn new() -> Self {
        Self {
            calls: Ring::new(),
            messages: Ring::new(),
            passed_over: 0,
            next: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.messages.is_empty()
    }

    /// How many of a client's wait already.
    pub(super) fn backlog(&self, client: &C, priority: Priority) -> usize {
        let line = self.ring(priority).lines.get(client);
        line.map_or(0, |line| line.waiting.len())
    }

    /// Waits behind all others of the client.
    pub(super) fn push(&mut self, client: C, priority: Priority, item: T) -> Ticket<C> {
        let number = self.next;
        self.next += 1;
        self.ring_mut(priority).push(client.clone(), number, item);
        Ticket {
            client,
            priority,
            number,
        }
    }

    /// Waits no more; `None` if it had its turn already.
    pub(super) fn leave(&mut self, ticket: &Ticket<C>) -> Option<T> {
        self.ring_mut(ticket.priority)
            .leave(&ticket.client, ticket.number)
    }

    pub(super) fn holds(&self, ticket: &Ticket<C>) -> bool {
        let line = self.ring(ticket.priority).lines.get(&ticket.client);
        line.is_some_and(|line| line.waiting.contains_key(&ticket.number))
    }

    /// Whoever would go next.
    pub(super) fn peek(&self) -> Option<&T> {
        self.ring(self.turn()?).peek()
    }

    /// Lets the next one go.
    pub(super) fn pop(&mut self) -> Option<T> {
        let priority = self.turn()?;
        self.passed_over = match priority {
            Priority::Calls if !self.messages.is_empty() => self.passed_over + 1,
            Priority::Calls | Priority::Messages => 0,
        };
        let behind = self.next;
        self.next += 1;
        self.ring_mut(priority).pop(behind)
    }

    fn turn(&self) -> Option<Priority> {
        match (self.calls.is_empty(), self.messages.is_empty()) {
            (true, true) => None,
            (false, true) => Some(Priority::Calls),
            (false, false) if self.passed_over < CALLS_IN_A_ROW => Some(Priority::Calls),
            (_, false) => Some(Priority::Messages),
        }
    }

    fn ring(&self, priority: Priority) -> &Ring<C, T> {
        match priority {
            Priority::Calls => &self.calls,
            Priority::Messages => &self.messages,
        }
    }

    fn ring_mut(&mut self, priority: Priority) -> &mut Ring<C, T> {
        match priority {
            Priority::Calls => &mut self.calls,
            Priority::Messages => &mut self.messages,
        }
    }
}

impl<C: Clone + Ord, T> Ring<C, T> {
    fn new() -> Self {
        Self {
            lines: BTreeMap::new(),
            turns: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    fn push(&mut self, client: C, number: u64, item: T) {
        // Who comes anew has the last turn of the round.
        let line = self.lines.entry(client.clone()).or_insert_with(|| {
            self.turns.insert(number, client);
            Line {
                turn: number,
                waiting: BTreeMap::new(),
            }
        });
        line.waiting.insert(number, item);
    }

    fn peek(&self) -> Option<&T> {
        let (_, client) = self.turns.first_key_value()?;
        let (_, item) = self.lines.get(client)?.waiting.first_key_value()?;
        Some(item)
    }

    /// `behind` is a turn behind all others, for the client's next.
    fn pop(&mut self, behind: u64) -> Option<T> {
        let (_, client) = self.turns.pop_first()?;
        let line = self.lines.get_mut(&client)?;
        let (_, item) = line.waiting.pop_first()?;
        if line.waiting.is_empty() {
            self.lines.remove(&client);
        } else {
            line.turn = behind;
            self.turns.insert(behind, client);
        }
        Some(item)
    }

    fn leave(&mut self, client: &C, number: u64) -> Option<T> {
        let line = self.lines.get_mut(client)?;
        let item = line.waiting.remove(&number)?;
        if line.waiting.is_empty() {
            self.turns.remove(&line.turn);
            self.lines.remove(client);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Calls, Messages};
    use proptest::prelude::*;

    /// Waits for clients as they are listed, and says in which order they go.
    fn order(waiting: &[(&'static str, Priority)]) -> String {
        let mut queue = Queue::new();
        for (client, priority) in waiting {
            queue.push(*client, *priority, *client);
        }
        let mut order = String::new();
        while let Some(client) = queue.pop() {
            order.push_str(client);
        }
        assert!(queue.is_empty());
        order
    }

    #[test]
    fn clients_take_turns_and_calls_go_first() {
        let check = |waiting: &[_], expected| assert_eq!(order(waiting), expected, "{waiting:?}");
        check(&[], "");
        check(&[("a", Calls), ("a", Calls), ("a", Calls)], "aaa");
        check(
            &[("a", Calls), ("a", Calls), ("a", Calls), ("b", Calls)],
            "abaa",
        );
        check(&[("a", Messages), ("a", Messages), ("b", Calls)], "baa");
        check(
            &[
                ("a", Messages),
                ("b", Messages),
                ("a", Messages),
                ("c", Messages),
                ("b", Messages),
            ],
            "abcab",
        );
    }

    #[test]
    fn a_storm_of_calls_leaves_every_tenth_turn_to_messages() {
        let mut queue = Queue::new();
        for _ in 0..200 {
            queue.push("storm", Calls, 'c');
        }
        for _ in 0..3 {
            queue.push("chat", Messages, 'm');
        }
        let went: String = std::iter::from_fn(|| queue.pop()).take(40).collect();
        assert_eq!(went, "cccccccccm".repeat(3) + "cccccccccc");
    }

    #[test]
    fn whoever_leaves_is_passed_over_and_leaves_no_turn_behind() {
        let mut queue = Queue::new();
        let first = queue.push("a", Calls, 1);
        let alone = queue.push("b", Calls, 2);
        queue.push("a", Calls, 3);
        assert_eq!((queue.backlog(&"a", Calls), queue.peek()), (2, Some(&1)));
        assert_eq!(queue.leave(&first), Some(1));
        assert_eq!(queue.leave(&first), None);
        assert_eq!(queue.leave(&alone), Some(2));
        assert!(!queue.holds(&alone));
        assert_eq!((queue.pop(), queue.pop()), (Some(3), None));
        assert!(queue.calls.lines.is_empty() && queue.calls.turns.is_empty());
    }

    #[test]
    fn twenty_times_the_demand_is_no_larger_share() {
        let mut queue = Queue::new();
        let mut served = [0, 0];
        for _ in 0..1_000 {
            for _ in 0..20 {
                queue.push(0, Calls, 0);
            }
            queue.push(1, Calls, 1);
            for _ in 0..2 {
                served[queue.pop().unwrap()] += 1;
            }
        }
        assert_eq!(served, [1_000, 1_000]);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Push(u8, bool),
        Pop,
        Leave(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => (0u8..5, any::<bool>()).prop_map(|(client, calls)| Act::Push(client, calls)),
            3 => Just(Act::Pop),
            1 => (0usize..64).prop_map(Act::Leave),
        ];
        prop::collection::vec(act, 0..400)
    }

    proptest! {
        #[test]
        fn nobody_is_lost_forgotten_or_kept_waiting_for_long(acts in acts()) {
            let mut queue = Queue::new();
            // Everybody that waits: the ticket, and how many went since it came to the head of its client's line.
            let mut waiting: Vec<(Ticket<u8>, u32)> = Vec::new();
            for act in acts {
                match act {
                    Act::Push(client, calls) => {
                        let priority = if calls { Calls } else { Messages };
                        let id = queue.next;
                        waiting.push((queue.push(client, priority, id), 0));
                    }
                    Act::Leave(place) => {
                        if waiting.is_empty() {
                            continue;
                        }
                        let (ticket, _) = waiting.remove(place % waiting.len());
                        prop_assert!(queue.holds(&ticket));
                        prop_assert_eq!(queue.leave(&ticket), Some(ticket.number));
                    }
                    Act::Pop => {
                        let peeked = queue.peek().copied();
                        let popped = queue.pop();
                        prop_assert_eq!(peeked, popped);
                        prop_assert_eq!(popped.is_none(), waiting.is_empty());
                        let Some(id) = popped else { continue };
                        let place = waiting.iter().position(|(ticket, _)| ticket.number == id);
                        let (ticket, _) = waiting.remove(place.expect("it waited"));
                        let heads: Vec<usize> = waiting
                            .iter()
                            .enumerate()
                            .filter(|(place, (one, _))| {
                                let ahead = &waiting[..*place];
                                !ahead.iter().any(|(other, _)| other.client == one.client && other.priority == one.priority)
                            })
                            .map(|(place, _)| place)
                            .collect();
                        for place in heads {
                            let (head, went) = &mut waiting[place];
                            *went += 1;
                            // Five clients: a round of calls is five turns, one of messages fifty.
                            let most = match head.priority {
                                Calls => 5 + 1,
                                Messages => 50,
                            };
                            prop_assert!(*went <= most, "{head:?} waits too long");
                        }
                        if ticket.priority == Messages {
                            // Messages go only where no call waits, or after nine calls.
                            let calls = waiting.iter().any(|(one, _)| one.priority == Calls);
                            prop_assert!(!calls || queue.passed_over == 0);
                        }
                    }
                }
            }
            let left = std::iter::from_fn(|| queue.pop()).count();
            prop_assert_eq!(left, waiting.len());
            prop_assert!(queue.calls.lines.is_empty() && queue.messages.lines.is_empty());
        }
    }
}
