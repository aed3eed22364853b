"""Figures: one file each; the file's name is the figure's name. Each is drawn from its table alone, which is written
next to it as CSV.

A figure's file has

``NEEDS``            what there must be for it, printed where there is nothing to draw
``data(source)``     the table of one benchmark, empty where there is nothing to draw; a file for the whole suite has
                     ``suite_data(sources)`` instead
``draw(frame, styles)``  the picture of that table

Every table of results has the columns ``mean``, ``ci95`` (half-width of the 95 % t interval over seeds), ``n`` and
``asked`` (seeds that there are, and should be); a row that lacks seeds is marked † in the picture.
"""
