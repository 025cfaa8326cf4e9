//! Calls by the place that they lead to, not by how far it is: the same function is then the same bytes wherever it is
//! called from, which packs better. It knows no instructions: what only looks like a call changes, and changes back.

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Before packing.
    #[allow(dead_code)] // The file itself only unpacks.
    ToPlaces,
    /// After unpacking.
    ToDistances,
}

/// CALL and JMP of x86, 32 and 64 bits: one byte, and a distance of four from the byte behind them. A place is written with
/// its highest byte first, which most of them have in common.
pub(crate) fn x86(code: &mut [u8], way: Way) {
    let len = code.len() as i32;
    let mut at = 0;
    while let Some(([first, number @ ..], _)) = code
        .get_mut(at as usize..)
        .and_then(<[u8]>::split_first_chunk_mut::<5>)
    {
        at += 1;
        if *first & 0xfe != 0xe8 {
            continue;
        }
        at += 4;
        let reach = -at..len;
        // As many distances as there are numbers for places: those that lead behind the code become the negative ones.
        match way {
            Way::ToPlaces => {
                let distance = i32::from_le_bytes(*number);
                if reach.contains(&distance) {
                    let is_inside = distance < len - at;
                    let place = distance + if is_inside { at } else { -len };
                    *number = place.to_be_bytes();
                } else {
                    number.reverse();
                }
            }
            Way::ToDistances => {
                let place = i32::from_be_bytes(*number);
                let add = match reach.contains(&place) {
                    true if place < 0 => len,
                    true => -at,
                    false => 0,
                };
                *number = (place + add).to_le_bytes();
            }
        }
    }
}
