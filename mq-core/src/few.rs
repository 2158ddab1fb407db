//! Lists that nearly always have one item, which then stands in place: no allocation.

use smallvec::SmallVec;

/// A list whose first item stands in place; more than one are on the heap.
pub type Few<T> = SmallVec<[T; 1]>;
