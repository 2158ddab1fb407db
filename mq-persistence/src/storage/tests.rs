//! Tests of the seam on real directories.
