package convert

import (
	"math/big"
	"strconv"
)

// integer is an integer as CBOR has it: n, or -1-n if it is negative. If large is
// there, it stands for n, which has more than 64 bits.
type integer struct {
	negative bool
	n        uint64
	large    *big.Int
}

// Integers have at most so many bits: what takes long to convert takes a quadratic time.
const (
	mostBits   = 1024
	mostDigits = 309
)

// largeInteger is n, or -1-n if it is negative.
func largeInteger(negative bool, n *big.Int) (integer, error) {
	switch {
	case n.IsUint64():
		return integer{negative: negative, n: n.Uint64()}, nil
	case n.BitLen() > mostBits:
		return integer{}, errNumber
	}
	return integer{negative: negative, large: n}, nil
}

// signed is the integer of a signed one.
func signed(i int64) integer {
	if i < 0 {
		return integer{negative: true, n: uint64(-1 - i)}
	}
	return integer{n: uint64(i)}
}

// parseInteger is the integer of digits as JSON has them, which are not -0.
func parseInteger(digits []byte) (integer, error) {
	negative := digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	n, err := strconv.ParseUint(string(digits), 10, 64)
	switch {
	case err == nil && negative:
		return integer{negative: true, n: n - 1}, nil
	case err == nil:
		return integer{n: n}, nil
	case len(digits) > mostDigits:
		return integer{}, errNumber
	}
	large, ok := new(big.Int).SetString(string(digits), 10)
	if !ok {
		return integer{}, errNumber
	}
	if negative {
		large.Sub(large, one)
	}
	return largeInteger(negative, large)
}

var one = big.NewInt(1)

// append appends the digits of the integer, as JSON has them.
func (i integer) append(out []byte) []byte {
	if i.negative {
		out = append(out, '-')
	}
	switch {
	case i.large != nil && i.negative:
		return new(big.Int).Add(i.large, one).Append(out, 10)
	case i.large != nil:
		return i.large.Append(out, 10)
	case i.negative && i.n == 1<<64-1:
		return append(out, "18446744073709551616"...)
	case i.negative:
		return strconv.AppendUint(out, i.n+1, 10)
	}
	return strconv.AppendUint(out, i.n, 10)
}
