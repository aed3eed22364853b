"""The page that answers: ``results/<suite>/report.html``, one file that asks for nothing outside itself."""
