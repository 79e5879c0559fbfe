//! Sets of relations of one region, as bits.

/// A set of up to [`RelationSet::MAX`] relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub(super) struct RelationSet(pub u64);

impl RelationSet {
    /// Relations a set can hold.
    pub(super) const MAX: usize = 64;

    /// Returns the set of one relation.
    pub(super) fn one(relation: usize) -> Self {
        Self(1 << relation)
    }

    /// Returns the set of the first `n` relations.
    pub(super) fn first(n: usize) -> Self {
        if n >= Self::MAX { Self(u64::MAX) } else { Self((1 << n) - 1) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub(super) fn has(self, relation: usize) -> bool {
        self.contains(Self::one(relation))
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the only relation of a set of one.
    pub(super) fn single(self) -> Option<usize> {
        (self.len() == 1).then(|| self.0.trailing_zeros() as usize)
    }

    /// Returns the relations in order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX).filter(move |relation| self.has(*relation))
    }
}
