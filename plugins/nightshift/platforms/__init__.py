"""Where jobs run; the only place that knows a vendor's words."""
