//! The parameters of a control sequence.

/// Most parameters; what comes after them is left out.
const PARAMS_MAX: usize = 32;

/// `? 1 ; 4 : 3 SP` taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::pty) struct Params {
    /// One of `< = > ?`, or 0.
    pub(super) private: u8,
    /// The one before the final byte, or 0.
    pub(super) intermediate: u8,
    /// Each parameter with those that colons add to it; none: left out.
    values: Vec<Vec<Option<u16>>>,
}

impl Params {
    pub(in crate::pty) fn parse(body: &[u8]) -> Self {
        let mut params = Self::default();
        let mut rest = body;
        if let Some((&first @ 0x3c..=0x3f, after)) = rest.split_first() {
            (params.private, rest) = (first, after);
        }
        let end = rest.iter().position(|byte| *byte < 0x30).unwrap_or(rest.len());
        let (digits, intermediates) = rest.split_at(end);
        params.intermediate = intermediates.first().copied().unwrap_or(0);
        if !digits.is_empty() {
            let each = digits.split(|byte| *byte == b';').take(PARAMS_MAX);
            params.values = each
                .map(|value| value.split(|byte| *byte == b':').take(8).map(number).collect())
                .collect();
        }
        params
    }

    /// One of `< = > ?`, or 0.
    pub(in crate::pty) const fn private(&self) -> u8 {
        self.private
    }

    /// The parameter at `index`; `default` when it is left out.
    pub(in crate::pty) fn or(&self, index: usize, default: u16) -> u16 {
        self.values.get(index).and_then(|value| *value.first()?).unwrap_or(default)
    }

    /// The parameter at `index`, at least 1.
    pub(in crate::pty) fn count(&self, index: usize) -> u16 {
        self.or(index, 1).max(1)
    }

    /// Each parameter with what colons add to it; at least one.
    pub(in crate::pty) fn all(&self) -> impl Iterator<Item = (u16, &[Option<u16>])> {
        const NOTHING: &[Option<u16>] = &[];
        let none = self.values.is_empty().then_some((0, NOTHING));
        let each = self.values.iter().map(|value| {
            let (first, more) = value.split_first().map_or((None, NOTHING), |(f, m)| (*f, m));
            (first.unwrap_or(0), more)
        });
        none.into_iter().chain(each)
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return None;
    }
    let mut value: u32 = 0;
    for digit in digits {
        value = (value * 10 + u32::from(digit.wrapping_sub(b'0'))).min(u32::from(u16::MAX));
    }
    u16::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_terminals_do() {
        let params = Params::parse(b"?1;;4:3;99999999");
        assert_eq!((params.private, params.intermediate), (b'?', 0));
        let all: Vec<_> = params.all().map(|(value, more)| (value, more.to_vec())).collect();
        assert_eq!(all, [(1, vec![]), (0, vec![]), (4, vec![Some(3)]), (u16::MAX, vec![])]);
        assert_eq!((params.or(1, 7), params.or(9, 7)), (7, 7));
        assert_eq!(Params::parse(b"2 ").intermediate, b' ');
        assert_eq!(Params::parse(b"").all().count(), 1);
    }
}
