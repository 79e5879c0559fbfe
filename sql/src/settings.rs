//! Every `SET saltlake.*` option, declared once.
