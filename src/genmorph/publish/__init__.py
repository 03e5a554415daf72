"""Tables and figures from measurements: shared shapes; each paper's own stand in its study."""
