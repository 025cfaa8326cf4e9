//! Replaces the relative targets of x86 calls and jumps by absolute ones, and back. All calls of a function are then the same
//! bytes, which compress better. Does not decode instructions: data that looks like a call is changed and restored, too.

/// Direction of the conversion.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Makes relative targets absolute; used before packing.
    #[allow(dead_code)] // The packed file only unpacks.
    ToAbsolute,
    /// Makes absolute targets relative; used after unpacking.
    ToRelative,
}

/// Converts CALL and JMP (0xe8, 0xe9) of x86 code, 32 or 64 bits. Their operand is the distance (4 bytes) from the next
/// instruction. An absolute target is stored in big-endian order, because most targets share the high bytes.
pub(crate) fn x86(code: &mut [u8], way: Way) {
    let len = code.len() as i32;
    let mut offset = 0;
    while let Some(([first, number @ ..], _)) = code
        .get_mut(offset as usize..)
        .and_then(<[u8]>::split_first_chunk_mut::<5>)
    {
        offset += 1;
        if *first & 0xfe != 0xe8 {
            continue;
        }
        offset += 4;
        let reach = -offset..len;
        // Keeps the conversion reversible: distances to targets after the end of the code become negative numbers.
        match way {
            Way::ToAbsolute => {
                let distance = i32::from_le_bytes(*number);
                if reach.contains(&distance) {
                    let is_inside = distance < len - offset;
                    let place = distance + if is_inside { offset } else { -len };
                    *number = place.to_be_bytes();
                } else {
                    number.reverse();
                }
            }
            Way::ToRelative => {
                let place = i32::from_be_bytes(*number);
                let add = match reach.contains(&place) {
                    true if place < 0 => len,
                    true => -offset,
                    false => 0,
                };
                *number = (place + add).to_le_bytes();
            }
        }
    }
}
