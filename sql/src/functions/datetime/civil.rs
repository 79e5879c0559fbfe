//! The calendar: days since 1970 to year, month and day, and back, and weeks as ISO 8601 counts them.
//!
//! Years are astronomical (0 is 1 BC), the calendar is the Gregorian one for all of them, as in PostgreSQL.

/// The Julian day of 1970-01-01.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;

/// Returns the days since 1970 of a date; months beyond 1..=12 count on in the years around.
pub(in crate::functions) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year + (month - 1).div_euclid(12);
    let month = (month - 1).rem_euclid(12) + 1;
    // Years that begin in March have their leap day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - DAYS_BEFORE_1970
}

/// Returns the year, month and day of a number of days since 1970.
pub(in crate::functions) fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Returns the day of the week, from Sunday, which is 0.
pub(super) fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// Returns the day of its year, from 1.
pub(super) fn day_of_year(year: i64, month: i64, day: i64) -> i64 {
    days_of(year, month, day) - days_of(year, 1, 1) + 1
}

/// Returns how many days a month has.
pub(in crate::functions) fn days_in_month(year: i64, month: i64) -> i64 {
    days_of(year, month + 1, 1) - days_of(year, month, 1)
}

/// Returns the Julian day of a number of days since 1970.
pub(super) fn julian(days: i64) -> i64 {
    days + JULIAN_DAY_OF_1970
}

/// Returns the days since 1970 of a Julian day.
pub(super) fn of_julian(julian: i64) -> i64 {
    julian - JULIAN_DAY_OF_1970
}

/// Returns the Monday that an ISO year's week begins with, in days since 1970. The first week has the 4th of January.
pub(super) fn monday_of_week(year: i64, week: i64) -> i64 {
    let fourth = days_of(year, 1, 4);
    fourth - (weekday(fourth) + 6) % 7 + (week - 1) * 7
}

/// Returns the ISO year and week of a day.
pub(super) fn iso_week(days: i64) -> (i64, i64) {
    let (year, _, _) = date_of(days);
    let year = match () {
        () if days >= monday_of_week(year + 1, 1) => year + 1,
        () if days < monday_of_week(year, 1) => year - 1,
        () => year,
    };
    (year, (days - monday_of_week(year, 1)) / 7 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_belong_together() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((1600, 3, 1), -135_080),
            ((0, 1, 1), -719_528),
            ((-4712, 1, 1), of_julian(38)),
        ] {
            let (year, month, day) = date;
            assert_eq!((days_of(year, month, day), date_of(days)), (days, date));
        }
        for days in (-1_000_000..1_000_000).step_by(997) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(days_in_month(2023, 2) + days_in_month(2024, 2) + days_in_month(2024, 12), 88);
        assert_eq!((weekday(0), day_of_year(2024, 12, 31)), (4, 366));
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        for (date, week) in [
            ((2021, 1, 3), (2020, 53)),
            ((2021, 1, 4), (2021, 1)),
            ((2024, 12, 30), (2025, 1)),
            ((2016, 1, 1), (2015, 53)),
        ] {
            let (year, month, day) = date;
            assert_eq!(iso_week(days_of(year, month, day)), week, "{date:?}");
        }
    }
}
