"""Calendars: the rules of payment systems, markets and countries, and each book's own calendars as rows.

Promise: a calendar that would have no open day is refused when it is written, not when somebody asks it for one.
"""
