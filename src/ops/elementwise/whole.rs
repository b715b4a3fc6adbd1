//! Arithmetic of whole numbers that is defined for all of them: what NumPy gives, and never a panic.

/// `i32` and `u32`.
pub(super) trait Whole: Copy {
    /// Rounded down; 0 where the divisor is 0.
    fn floor_divide(self, divisor: Self) -> Self;
    /// With the sign of the divisor; 0 where that is 0.
    fn remainder(self, divisor: Self) -> Self;
    /// By squaring, wrapping around. A negative power is rounded towards zero: only ±1 has one that is not 0.
    fn power(self, exponent: Self) -> Self;
    fn absolute(self) -> Self;
    /// 0 in place of negative numbers.
    fn positive_part(self) -> Self;
    /// -1, 0 or 1.
    fn sign(self) -> Self;
    /// By the width or more, everything is shifted out. A negative distance counts as one that is too large.
    fn shift_left(self, distance: Self) -> Self;
    fn shift_right(self, distance: Self) -> Self;
}

impl Whole for i32 {
    #[inline(always)]
    fn floor_divide(self, divisor: Self) -> Self {
        if divisor == 0 {
            return 0;
        }
        let (quotient, rest) = (self.wrapping_div(divisor), self.wrapping_rem(divisor));
        quotient - Self::from(rest != 0 && (rest < 0) != (divisor < 0))
    }
    #[inline(always)]
    fn remainder(self, divisor: Self) -> Self {
        if divisor == 0 {
            return 0;
        }
        let rest = self.wrapping_rem(divisor);
        if rest != 0 && (rest < 0) != (divisor < 0) { rest + divisor } else { rest }
    }
    #[inline(always)]
    fn power(self, exponent: Self) -> Self {
        match self {
            _ if exponent >= 0 => self.wrapping_pow(exponent.cast_unsigned()),
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        }
    }
    #[inline(always)]
    fn absolute(self) -> Self {
        self.wrapping_abs()
    }
    #[inline(always)]
    fn positive_part(self) -> Self {
        self.max(0)
    }
    #[inline(always)]
    fn sign(self) -> Self {
        self.signum()
    }
    #[inline(always)]
    fn shift_left(self, distance: Self) -> Self {
        if (0..32).contains(&distance) { self << distance } else { 0 }
    }
    #[inline(always)]
    fn shift_right(self, distance: Self) -> Self {
        if (0..32).contains(&distance) { self >> distance } else { self >> 31 }
    }
}

impl Whole for u32 {
    #[inline(always)]
    fn floor_divide(self, divisor: Self) -> Self {
        self.checked_div(divisor).unwrap_or(0)
    }
    #[inline(always)]
    fn remainder(self, divisor: Self) -> Self {
        self.checked_rem(divisor).unwrap_or(0)
    }
    #[inline(always)]
    fn power(self, exponent: Self) -> Self {
        self.wrapping_pow(exponent)
    }
    #[inline(always)]
    fn absolute(self) -> Self {
        self
    }
    #[inline(always)]
    fn positive_part(self) -> Self {
        self
    }
    #[inline(always)]
    fn sign(self) -> Self {
        Self::from(self != 0)
    }
    #[inline(always)]
    fn shift_left(self, distance: Self) -> Self {
        if distance < 32 { self << distance } else { 0 }
    }
    #[inline(always)]
    fn shift_right(self, distance: Self) -> Self {
        if distance < 32 { self >> distance } else { 0 }
    }
}
