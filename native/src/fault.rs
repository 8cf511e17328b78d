//! Why a photo cannot be spliced. Numbers are known to facecloak/photos/native_splice.py.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Fault {
    /// Not one baseline or extended Huffman scan of 8 bits with 1 or 3 components.
    Unsupported = 1,
    /// Contradicts itself, or ends early.
    Damaged = 2,
    /// The change needs a code that the tables lack and have no room for.
    NoCode = 3,
    /// The caller's region does not fit the picture.
    BadRegion = 4,
    /// A defect of this library.
    Defect = 5,
}
