"""The topic hierarchy of the generated data set: main topic, sub-topic, series.

Each sub-topic has five series and four nouns; titles are made of both.
"""

TOPICS: dict[str, dict[str, tuple[str, str]]] = {
    "Sports": {
        "Basketball": (
            "Golden Bay, Street Courts, Rookie Season, Night League, Rim Stories",
            "buzzer beaters, dunk reels, playoff recaps, shooting drills",
        ),
        "Football": (
            "Red Terrace, Sunday Pitch, Keeper Files, Derby Days, Youth Academy",
            "penalty shoot-outs, match previews, transfer rumours, passing drills",
        ),
        "Cycling": (
            "Mountain Stages, Gravel Roads, Track Nights, City Commute, Tour Diaries",
            "sprint finishes, climbing tips, bike checks, route guides",
        ),
        "Swimming": (
            "Open Water, Lane Four, Cold Lakes, Relay Team, Harbour Crossing",
            "stroke lessons, race reports, training sets, lifeguard tales",
        ),
        "Climbing": (
            "Granite Walls, Boulder Hall, Winter Ridge, Sea Cliffs, Rope School",
            "first ascents, grip exercises, belay lessons, route sketches",
        ),
    },
    "Music": {
        "Jazz": (
            "Blue Cellar, Late Set, Brass Corner, Swing Years, Piano Trio",
            "saxophone solos, live sessions, chord lessons, record reviews",
        ),
        "Classical": (
            "String Quartet, Opera House, Morning Concert, Organ Loft, New Scores",
            "symphony guides, rehearsal notes, violin lessons, aria nights",
        ),
        "Hip Hop": (
            "Corner Cypher, Beat Lab, Tape Deck, Midnight Radio, Wordsmiths",
            "freestyle battles, sample hunts, verse breakdowns, studio visits",
        ),
        "Folk": (
            "Hill Ballads, Harbour Songs, Fiddle Club, Campfire Circle, Lost Verses",
            "banjo lessons, song histories, barn concerts, choir evenings",
        ),
        "Electronic": (
            "Warehouse Tapes, Modular Garden, Sunrise Set, Vocoder Town, Slow Pulse",
            "synth patches, mixing lessons, festival sets, remix contests",
        ),
    },
    "Food": {
        "Baking": (
            "Sourdough Diary, Cake Street, Cookie Jar, Pastry Cellar, Rye Country",
            "bread recipes, glaze tricks, oven tests, birthday bakes",
        ),
        "Noodles": (
            "Ramen Alley, Rice Noodle Road, Hand Pulled, Cold Soba, Dumpling House",
            "broth recipes, market visits, noodle tests, kitchen secrets",
        ),
        "Grilling": (
            "Smoke Ring, Backyard Coals, River Fish, Skewer Bar, Slow Brisket",
            "marinade recipes, grill tests, rub mixes, cookout plans",
        ),
        "Vegetables": (
            "Market Basket, Root Cellar, Green Curry, Salad Days, Bean Kitchen",
            "soup recipes, pickle jars, seasonal menus, lunch boxes",
        ),
        "Coffee": (
            "Slow Drip, Roastery Tour, Latte Art, Camp Brew, Espresso Bench",
            "grinder tests, bean reviews, brewing guides, cafe portraits",
        ),
    },
    "Travel": {
        "Islands": (
            "Coral Ferry, Volcano Coast, Lighthouse Walk, Palm Village, Northern Isles",
            "snorkel guides, beach maps, ferry diaries, harbour walks",
        ),
        "Mountains": (
            "High Huts, Silent Valley, Glacier Trail, Shepherd Paths, Summit Bus",
            "hiking routes, hut reviews, packing lists, pass crossings",
        ),
        "Cities": (
            "Old Quarter, Rooftop Views, Night Market, Tram Lines, Museum Mile",
            "walking tours, hotel reviews, street portraits, weekend plans",
        ),
        "Railways": (
            "Sleeper Car, Steam Line, Border Express, Narrow Gauge, Coast Train",
            "window views, ticket guides, station stories, timetable puzzles",
        ),
        "Deserts": (
            "Red Dunes, Oasis Road, Camel Track, Salt Flat, Star Camp",
            "jeep diaries, survival tips, night skies, nomad portraits",
        ),
    },
    "Games": {
        "Strategy": (
            "Iron Hexes, Trade Winds, Castle Siege, Star Colony, River Empire",
            "opening guides, campaign diaries, map reviews, patch notes",
        ),
        "Puzzles": (
            "Mirror Rooms, Clockwork Box, Number Maze, Paper Castle, Light Bridges",
            "level walkthroughs, logic lessons, hint videos, speed runs",
        ),
        "Racing": (
            "Neon Drift, Rally Forest, Kart Island, Desert Circuit, Hover League",
            "lap records, car setups, track guides, crash reels",
        ),
        "Role Playing": (
            "Dragon Ledger, Moon Temple, Guild Wars Inn, Hollow Crown, Rune Forge",
            "quest guides, character builds, lore talks, boss fights",
        ),
        "Board Games": (
            "Harbour Master, Dice Tower, Card Duel, Tile Kingdom, Party Table",
            "rule lessons, unboxing videos, strategy talks, club evenings",
        ),
    },
    "Science": {
        "Astronomy": (
            "Red Planet, Comet Watch, Ring System, Deep Field, Moon Base",
            "telescope tips, mission logs, sky charts, launch reports",
        ),
        "Biology": (
            "Tide Pool, Beetle House, Forest Floor, Cell Theatre, Bird Hide",
            "field notes, species portraits, microscope views, gene talks",
        ),
        "Physics": (
            "Quantum Desk, Magnet Lab, Wave Tank, Particle Hall, Cold Atoms",
            "bench experiments, thought puzzles, lecture notes, history talks",
        ),
        "Robotics": (
            "Walking Machines, Drone Yard, Arm Bench, Maze Mouse, Soft Robots",
            "build logs, sensor tests, code lessons, contest reports",
        ),
        "Geology": (
            "Crystal Cave, Fault Line, Fossil Bed, Lava Field, River Stone",
            "rock portraits, drill reports, map lessons, quake stories",
        ),
    },
}

ADJECTIVES = (
    "Unforgettable, Classic, Brand-new, Underrated, Complete, Short, Essential, Slow, "
    "Surprising, Weekly, Honest, Beginner, Advanced, Hidden, Favourite, Archive"
)
